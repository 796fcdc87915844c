"""What each console command does, once its options are checked: the work is elsewhere, here it is wired and told."""

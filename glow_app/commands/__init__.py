"""The console commands, after their options are checked: they call the code that does the work and report results."""

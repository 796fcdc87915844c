"""What to do with a GPU that one has for a quarter of an hour: prepared plans, see README.md."""

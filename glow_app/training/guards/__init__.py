"""What stops a run before it poisons itself."""

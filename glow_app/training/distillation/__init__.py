"""Guards that detect and explain what goes wrong in a run."""

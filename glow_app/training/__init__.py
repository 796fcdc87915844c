"""Training a flow: the Lightning module, what accompanies a run, and its checkpoints."""

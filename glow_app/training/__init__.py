"""Training a flow: the Lightning module, callbacks, loggers and checkpoints."""

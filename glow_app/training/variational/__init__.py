"""Training of variational autoencoders."""

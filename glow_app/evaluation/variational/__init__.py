"""Measurements of variational autoencoders."""

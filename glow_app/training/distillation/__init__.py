"""Distillation: a flow learns the density of another from samples of its own."""

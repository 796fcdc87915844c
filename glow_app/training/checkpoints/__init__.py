"""Checkpoints: what a run saves, when, and how it is found again."""

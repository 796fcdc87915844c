"""Captured and compiled training steps."""

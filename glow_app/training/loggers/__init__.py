"""Loggers of a run's metrics and pictures."""

"""Bits per dimension that training reaches, of recipes and of other programs: ``python -m benchmarks.training``."""

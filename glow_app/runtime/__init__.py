"""Processes, ranks, files, memory and the console."""

"""Data sets: files on disk in, uint8 images out. Nothing here depends on flows."""

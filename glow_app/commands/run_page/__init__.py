"""The page of a run: its sections, each made by itself, in one HTML file."""

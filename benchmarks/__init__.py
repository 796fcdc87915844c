"""Speed and memory of glow_app beside the Glow implementations that a package index serves."""

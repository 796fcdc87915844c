"""What the commands print and write of what they found."""

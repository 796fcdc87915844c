"""The printed and written reports of the commands."""

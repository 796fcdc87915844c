"""The artist of ``drawn_faces``: labelled portraits, drawn from factors."""

"""Scores of images by a trained flow: how probable they are, and how like its training images."""

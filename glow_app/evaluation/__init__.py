"""Measurements of a trained flow."""

"""Glow: a multiscale, invertible image model with exact likelihoods (Kingma & Dhariwal 2018)."""

"""Diffusion models for scientific data that are not images."""

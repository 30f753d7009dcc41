"""Survival analysis with diffusion models."""

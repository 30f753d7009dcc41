"""Adapters: one folder a field of science."""

"""Data sets with cards."""

"""See design."""

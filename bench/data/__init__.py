"""Data sets, conditions and splits."""

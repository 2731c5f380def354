"""Attacks that recover the condition image by replay or from the picture."""

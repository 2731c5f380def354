"""Defences, one a file."""

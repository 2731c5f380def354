"""Rows and per-record scores on disk."""

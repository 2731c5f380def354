"""Plugins of another package, to copy from."""

"""The embedded pocket model and its recipe."""

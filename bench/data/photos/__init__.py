"""Photographs that scikit-image ships."""

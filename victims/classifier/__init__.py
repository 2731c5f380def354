"""Victims that train classifiers."""

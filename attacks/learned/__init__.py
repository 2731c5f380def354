"""Attacks that train a network on simulated releases."""

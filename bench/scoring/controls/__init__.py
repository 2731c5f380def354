"""Estimates that need no attack, between which scores are placed."""

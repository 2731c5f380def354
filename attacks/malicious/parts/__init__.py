"""Malicious servers and their targets."""

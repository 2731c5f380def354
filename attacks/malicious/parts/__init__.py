"""Servers of the malicious attacks, and what these attacks share."""

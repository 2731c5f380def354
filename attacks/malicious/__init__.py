"""Attacks by a malicious server."""

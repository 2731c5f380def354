"""Helpers of the attacks on the wire."""

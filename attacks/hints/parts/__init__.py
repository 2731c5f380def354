"""Helpers of the attacks on hints."""

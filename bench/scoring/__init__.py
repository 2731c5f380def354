"""Compares claims with the truth and with controls."""

"""Compares a ledger with a baseline."""

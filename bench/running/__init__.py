"""Runs suites and reproduces rows."""

"""Plugins that are careless, vain or broken, each in one way; installed by tests only."""

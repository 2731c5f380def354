"""Attacks that recover prompts."""

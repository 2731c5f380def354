"""Helpers of the attacks on prompts."""

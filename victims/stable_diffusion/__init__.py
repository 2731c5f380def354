"""Loads any Stable Diffusion in diffusers layout."""

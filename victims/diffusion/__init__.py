"""Victims that train a ControlNet or a diffusion model."""

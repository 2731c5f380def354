"""Load and check any Stable Diffusion in diffusers layout."""

"""The pocket Stable Diffusion: a miniature with the real classes, its weights, and how they are made."""

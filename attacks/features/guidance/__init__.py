"""Guided sampling: unknown latents, priors, the feature guide and the sampler."""

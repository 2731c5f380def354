"""Guided sampling: unknown latents, priors, the sampler."""

"""Parts of the attack that samples from a diffusion prior, guided by what is seen of a client's features."""

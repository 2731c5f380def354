"""Clients, servers and training steps of the diffusion victims."""

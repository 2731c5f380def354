"""Attacks that invert gradients and model updates."""

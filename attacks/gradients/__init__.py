"""Attacks that invert gradients and updates."""

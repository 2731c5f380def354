"""Attacks whose server misbehaves during training."""

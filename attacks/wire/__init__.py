"""Attacks that read releases by algebra and Bayesian estimates."""

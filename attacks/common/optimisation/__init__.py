"""Optimisers of batches of problems, their priors and schedules."""

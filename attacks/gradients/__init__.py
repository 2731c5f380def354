"""Gradient inversion: objective x prior x optimiser x schedule, over any client whose training is public."""

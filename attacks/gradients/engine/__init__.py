"""The engine of the gradient attacks: objectives, priors, optimisers and simulated local training."""

"""Parts of the gradient attacks: objectives, optimisers, simulated training, labels and claims."""

"""Search for inputs: coordinates, distances, what is known, and the optimisation problem."""

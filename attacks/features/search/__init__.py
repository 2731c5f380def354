"""The search: coordinates, objectives, weights."""

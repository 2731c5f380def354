"""Where cells run: one after the other here, in worker processes, or on a Ray cluster."""

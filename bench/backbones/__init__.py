"""Feature extractors and readers of pictures."""

"""Code that all victims share."""

"""What all victims share."""

"""Parts of the attacks on hints."""

"""Takes known defences off a view."""

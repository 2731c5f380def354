"""One cell from end to end: capture, attack, scores, rows."""

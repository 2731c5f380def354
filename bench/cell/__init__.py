"""The stages of one cell: capture, targets, attacker, attempt, judge, measures, scores, result."""

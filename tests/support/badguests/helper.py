"""Used by the attack of this package, so part of what it is."""

SCALE = 1.0

"""Attacks by family: a room holds the attacks of one family, its sub-packages their parts."""

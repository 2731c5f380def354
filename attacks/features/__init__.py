"""Attacks that search for inputs whose features match the observed ones."""

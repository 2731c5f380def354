"""Crops of the photographs that other packages install."""

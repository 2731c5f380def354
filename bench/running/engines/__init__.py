"""Engines that run the cells of a suite: serial, processes, Ray."""

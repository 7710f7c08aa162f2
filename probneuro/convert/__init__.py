"""Draws of any Pyro program: what they say about the data, and how they become a result."""

"""Galleries: reference pictures that may be shown, with their names and credits, found by how much they look alike."""

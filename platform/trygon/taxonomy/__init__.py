"""Ranks and taxa, their names and captions, and the tree they form."""

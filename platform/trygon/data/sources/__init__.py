"""Readers of data sets in the form their publishers give them: what they say of each picture, and the pictures."""

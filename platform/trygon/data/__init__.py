"""Samples: where they come from, how they are stored in shards, and how images become arrays."""

"""trygon: vision models of the tree of life. This package is the library; jobs and serving stand on it."""

__version__ = "0.1.0"

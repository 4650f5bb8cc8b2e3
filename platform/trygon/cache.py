"""Where fetched things are kept between runs: the user's cache folder."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$TRYGON_CACHE`, else the folder that the desktop convention names (`~/.cache/trygon`)."""
    chosen = os.environ.get("TRYGON_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trygon"


def sample_folder() -> Path:
    """The sample data that `trygon sample` brings."""
    return cache_folder() / "sample"


def downloads_folder() -> Path:
    """Package files as downloaded; a file put here by hand is used like a fetched one."""
    return cache_folder() / "downloads"

"""Where the memory of training's steps comes from on CPUs."""

import os
from pathlib import Path

import ray


def allocator() -> dict[str, str]:
    """The environment of a process that trains on CPUs: Ray's own jemalloc, told to keep what a step sets free for the
    next one, in large pages. Nothing where somebody preloads what they want, or Ray has none for this platform.

    glibc hands memory back and asks for it anew (5 % of a step); that with one arena keeps it, but lets the threads of
    half precision's attention wait for each other (40 %). docs/benchmarks.md has the figures.
    """
    library = Path(ray.__file__).parent / "core/libjemalloc.so"
    # The loader takes a path with one of these for two.
    if os.environ.get("LD_PRELOAD") or not library.exists() or set(" :") & set(str(library)):
        return {}
    return {"LD_PRELOAD": str(library), "MALLOC_CONF": "dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always"}

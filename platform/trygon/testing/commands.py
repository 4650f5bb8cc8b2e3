"""The command line as a user calls it, in a process of its own."""

import subprocess
import sys
from pathlib import Path


def command(*words: object) -> list[str]:
    """`trygon WORDS`, as a list for subprocess."""
    return [sys.executable, "-m", "trygon_jobs", *map(str, words)]


def trygon(*words: object, cwd: Path | None = None, timeout_s: float = 500) -> subprocess.CompletedProcess[str]:
    """What it said and how it ended."""
    return subprocess.run(command(*words), cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)


def label_words(archive: str, out: str, *more: str) -> list[str]:
    """`label` in a folder that has model/, labels/ and detector/."""
    fixed = ["--model", "model", "--labels", "labels", "--detector", "detector", "--num-workers", "1"]
    return ["label", archive, *fixed, "--out", out, *more]

"""A disk that is too small, to see what a command says of it, and that it goes on when there is room."""

import subprocess
from pathlib import Path

import pytest

_TWICE = """
mount -t tmpfs -o size="$2" tmpfs "$1" || exit 77
out="$1"
shift 2
"$@"; echo "first: $?"
cp -r "$out" "$out.first"
mount -o remount,size=50m "$out"
"$@"; echo "second: $?"
cp -r "$out" "$out.second"
"""


def twice_on_small_disk(folder: Path, size: str, command: list[str], cwd: Path | None = None) -> list[str]:
    """Run a command whose output goes to the folder, on a disk of this size ("100k") and again when it has grown.

    Only the command sees the disk; what was on it lies in FOLDER.first and FOLDER.second afterwards. The lines that
    begin with `error` are given back; the second time must end well. Skips the test where nothing can be mounted.
    """
    folder.mkdir()
    alone = ["unshare", "--map-root-user", "--mount", "sh", "-c", _TWICE, "sh", str(folder), size, *command]
    result = subprocess.run(alone, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    if result.returncode == 77:
        pytest.skip("no disk can be mounted here")
    ends = [line for line in result.stdout.splitlines() if line.startswith(("first:", "second:"))]
    assert ends == ["first: 1", "second: 0"], result.stderr
    return [line for line in result.stderr.splitlines() if line.startswith("error")]

"""The guard of the embedded Triton, with small programs in the place of that."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from trygon.ports import free_ports, passing_ports
from trygon.testing.processes import kill_family, living
from trygon_serving.guard import LOG, READY

pytestmark = pytest.mark.slow


@contextmanager
def _guard(folder: Path, program: str, num_looks: int = 30) -> Iterator[subprocess.Popen[bytes]]:
    """Before a server that says nowhere what it loads."""
    words = [sys.executable, "-m", "trygon_serving.guard", str(folder), str(num_looks)]
    pipe = subprocess.PIPE
    process = subprocess.Popen([*words, "/bin/sh", "-c", program], stdin=pipe, stderr=pipe)
    try:
        yield process
    finally:
        if process.poll() is None:
            kill_family(process)


def test_what_a_dead_server_has_started_ends_before_the_next_and_failing_is_told_once(tmp_path: Path) -> None:
    folder, children = tmp_path / "served", tmp_path / "children"
    folder.mkdir()
    with _guard(folder, f"sleep 1000 & echo $! >> {children}; exit 3") as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(READY)
        process.stdin.flush()
        told = process.stderr.readline().decode()
        assert told == f"Triton does not start again, and is tried further; its log: {folder / LOG}\n"
        process.stdin.close()
        assert process.wait(30) == 0
    started = [int(line) for line in children.read_text().split()]
    assert len(started) >= 3
    assert "sleep" not in living([psutil.Process(it) for it in started if psutil.pid_exists(it)])
    assert not folder.exists()


def test_a_server_that_hangs_as_it_starts_is_given_up_and_its_log_says_so(tmp_path: Path) -> None:
    with _guard(tmp_path, "exec sleep 1000", num_looks=2) as process:
        assert process.wait(60) != 0
    assert "hung while it loaded its models" in (tmp_path / LOG).read_text()


def test_a_server_that_works_as_it_starts_is_waited_for(tmp_path: Path) -> None:
    with _guard(tmp_path, "while true; do :; done", num_looks=2) as process, pytest.raises(subprocess.TimeoutExpired):
        process.wait(8)


def test_ports_are_none_that_connections_are_given() -> None:
    found = free_ports(3)
    assert len(set(found)) == 3
    passing = passing_ports()
    if passing.start >= 30_000:
        assert not set(found) & set(passing)

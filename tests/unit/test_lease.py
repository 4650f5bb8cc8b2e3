"""One writer at a time on S3: of two one is refused, through faults and where a process was killed or slept."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from trygon.disk import only_writer
from trygon.errors import UserError
from trygon.lease import HeldError
from trygon.storage import exists, list_files
from trygon.testing.s3 import Fault, FaultyS3, Kind, using

pytestmark = pytest.mark.slow

TTL_S = 1.5


@pytest.fixture(autouse=True)
def _environment(server: str) -> Iterator[None]:
    with using(server):
        yield


_WRITER = """
import sys, time
from trygon.disk import only_writer
with only_writer(sys.argv[1], float(sys.argv[2])):
    print("holds", flush=True)
    sys.stdin.read()
"""


def _writer(folder: str) -> subprocess.Popen[str]:
    """Another process that holds the folder until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, folder, str(TTL_S)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    return process


def test_two_processes_do_not_write_to_one_folder() -> None:
    other = _writer("s3://shards/held")
    try:
        with (
            pytest.raises(HeldError, match="another process is writing to s3://shards/held"),
            only_writer("s3://shards/held", TTL_S),
        ):
            pass
        assert list_files("s3://shards/held") == []  # no part of the data
    finally:
        other.communicate("")
    assert not exists("s3://shards/held/.lock")
    start = time.monotonic()
    with only_writer("s3://shards/held", TTL_S) as hold:
        hold.check()
    assert time.monotonic() - start < TTL_S  # nothing to wait for


def test_a_killed_process_is_followed_by_the_next() -> None:
    other = _writer("s3://shards/killed")
    other.kill()
    other.communicate()
    assert exists("s3://shards/killed/.lock")
    with only_writer("s3://shards/killed", TTL_S) as hold:
        time.sleep(2 * TTL_S)  # it is renewed meanwhile
        hold.check()
        with pytest.raises(UserError, match="another process"), only_writer("s3://shards/killed", TTL_S):
            pass
    assert not exists("s3://shards/killed/.lock")


def test_a_run_that_was_taken_over_stops() -> None:
    """Stopped like a machine that sleeps, it is taken over, and told so when it goes on."""
    script = _WRITER.replace(":\n", " as hold:\n", 1).replace("sys.stdin.read()", "sys.stdin.readline(); hold.check()")
    command = [sys.executable, "-c", script, "s3://shards/slept", str(TTL_S)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "holds\n"
    other.send_signal(signal.SIGSTOP)
    try:
        with only_writer("s3://shards/slept", TTL_S) as hold:
            other.send_signal(signal.SIGCONT)
            _, said = other.communicate("go on\n", timeout=30)
            assert "another one has taken its place" in said
            hold.check()
            assert exists("s3://shards/slept/.lock")  # theirs, which the other one left alone
    finally:
        other.kill()


def test_a_lease_holds_through_faults(server: str) -> None:
    # Tries that fail one after another take some seconds of what a lease has: in production that is 15.
    faults = [Fault(Kind.LOSE_ANSWER, 3, ("PUT",)), Fault(Kind.SLOW_DOWN, 4), Fault(Kind.TRUNCATE, 2)]
    with (
        FaultyS3(server, faults) as faulty,
        using(faulty.address),
        only_writer("s3://shards/shaken", 4 * TTL_S) as hold,
    ):
        for _ in range(8):
            time.sleep(0.5)
            hold.check()
        with pytest.raises(UserError), only_writer("s3://shards/shaken", 4 * TTL_S):
            pass
    assert faulty.met[Kind.LOSE_ANSWER]
    assert not exists("s3://shards/shaken/.lock")


@pytest.mark.parametrize("kind", [Kind.NO_CONDITIONS, Kind.IGNORE_CONDITIONS])
def test_a_server_without_conditional_writes_is_told_apart(server: str, kind: Kind) -> None:
    with (
        FaultyS3(server, [Fault(kind, 1, ("PUT",))]) as faulty,
        using(faulty.address),
        pytest.raises(UserError, match="does not support conditional writes"),
        only_writer(f"s3://shards/{kind}", TTL_S),
    ):
        pass

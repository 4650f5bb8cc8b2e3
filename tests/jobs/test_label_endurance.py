"""`trygon label` that is killed, cut off from S3, stopped and taken over: nothing is lost, and nothing done twice."""

import os
import re
import signal
import subprocess
import time
from os.path import relpath
from pathlib import Path

import pytest

from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.run import Run
from trygon.archive.run_folder.tables import read_table
from trygon.disk import only_writer
from trygon.errors import UserError
from trygon.storage import digest_file, exists, join, list_files, read_bytes, write_bytes
from trygon.testing.archives import BROKEN, write_tiny_archive
from trygon.testing.commands import command, label_words, told, trygon
from trygon.testing.disks import twice_on_small_disk
from trygon.testing.processes import family
from trygon.testing.s3 import Fault, FaultyS3, Kind, bring, using

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1800)]


def _start(place: Path, words: list[str], parts: Parts, num_parts: int) -> subprocess.Popen[str]:
    """The running command, as soon as that many parts are committed."""
    process = subprocess.Popen(
        command(*words), cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 600
    while len(parts.numbers()) < num_parts:
        assert process.poll() is None, f"the run ended too early: {process.communicate()[1]}"
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return process


@pytest.mark.parametrize(("remote", "killed"), [(True, "command"), (False, "raylet")])
def test_killed_run_is_completed_with_every_file_once(
    remote: bool, killed: str, place: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_files = write_tiny_archive(tmp_path / "killed", num_frames=150)
    # On disk as users type them: from the folder that they are in.
    monkeypatch.chdir(place)
    archive, out = (relpath(tmp_path / name) for name in ("killed", "run"))
    if remote:
        archive, out = bring(tmp_path / "killed", join(bucket, "killed")), join(bucket, "run")
    words, parts = label_words(archive, out, "--part-size", "8"), Parts(out)
    with only_writer(out):
        refused = told(*words, cwd=place)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert f"another process is writing to {out}" in refused.stderr
        assert not list_files(out)
    process = _start(place, words, parts, 3)
    if killed == "raylet":
        (raylet,) = (it for it in family(process.pid) if it.name() == "raylet")
        raylet.kill()
        _, said = process.communicate(timeout=300)
        assert process.returncode == 1, said
        # Where Ray's own client is the first to miss the raylet, it ends the program itself, without a word of ours.
        errors = [line for line in said.splitlines() if line.startswith("error:")]
        assert all(line.startswith("error: a process of Ray died") for line in errors), said
        assert "Traceback" not in said
    else:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    before = {number: read_bytes(parts.media_place(number)) for number in parts.numbers()}
    assert not exists(join(out, "observations.parquet"))
    assert sum(read_table(parts.media_place(number)).num_rows for number in before) < num_files
    with pytest.raises(UserError, match="not a finished run"):
        Run.open(out)

    # A worker that dies is replaced: the run goes on.
    process = _start(place, [*words, "--price-per-hour", "0.36"], parts, len(before) + 3)
    (worker,) = (it for it in family(process.pid) if "_FinderActor" in " ".join(it.cmdline()))
    worker.kill()
    _, said = process.communicate(timeout=800)
    assert process.returncode == 0, said
    assert re.search(rf"{num_files} images, \d+ to do, \d\S* [kM]B to read", said), said
    summary = Run.open(out).summary
    assert summary["num_sessions"] == 2
    assert 0 <= summary["num_redone"] <= num_files
    media = Run.open(out).media
    assert len(set(media["path"].to_pylist())) == media.num_rows == num_files
    committed = [read_table(parts.media_place(number)).num_rows for number in parts.numbers()]
    assert sum(committed) == num_files
    found = [one for table in parts.detections(["detection_id"]) for one in table["detection_id"].to_pylist()]
    assert len(set(found)) == len(found) == 200
    assert {number: read_bytes(parts.media_place(number)) for number in before} == before


def test_outage_of_s3_ends_the_run_and_makes_no_frame_unreadable(place: Path, bucket: str, tmp_path: Path) -> None:
    num_files = write_tiny_archive(tmp_path / "far")
    archive, out = bring(tmp_path / "far", join(bucket, "far")), tmp_path / "run"
    words = label_words(archive, str(out))
    with FaultyS3(os.environ["AWS_ENDPOINT_URL"], []) as proxy, using(proxy.address):
        process = subprocess.Popen(command(*words), cwd=place, stderr=subprocess.PIPE, text=True)
        while not (out / "config.json").is_file():  # what follows the listing
            assert process.poll() is None
            time.sleep(0.01)
        proxy.faults = [Fault(Kind.LOSE_ANSWER, 1)]  # it closes the connections that are open
    _, said = process.communicate(timeout=800)
    assert process.returncode == 1, said
    assert re.fullmatch(rf"error: {archive}/\S+: {proxy.address} does not answer; .*", said.splitlines()[-1])
    assert Parts(out).numbers() == []
    result = trygon(*words, cwd=place)
    assert result.returncode == 0, result.stderr
    media = Run.open(out).media.to_pylist()
    assert len(media) == num_files
    assert {row["path"]: row["failure"] for row in media if row["failure"]} == BROKEN


def test_full_disk_ends_the_run_in_one_line_and_what_was_done_stands(place: Path, tmp_path: Path) -> None:
    num_files = write_tiny_archive(tmp_path / "archive", num_frames=40)
    out = tmp_path / "run"
    words = command(*label_words(str(tmp_path / "archive"), str(out), "--part-size", "8"))
    assert twice_on_small_disk(out, "100k", words, place) == [
        f"error: the disk of {out} is full; free some space and give the same command again: it goes on"
    ]
    first, second = (Parts(tmp_path / f"run.{name}") for name in ("first", "second"))
    assert first.clean() == 0
    done = {number: read_bytes(first.media_place(number)) for number in first.numbers()}
    assert 0 < len(done) < len(second.numbers())
    assert {number: read_bytes(second.media_place(number)) for number in done} == done
    assert second.media().num_rows == num_files


def test_run_that_was_taken_over_leaves_the_others_files(place: Path, bucket: str, tmp_path: Path) -> None:
    """Stopped like a machine that sleeps, it is taken over, and ends when it goes on."""
    write_tiny_archive(tmp_path / "slept", num_frames=150)
    out = join(bucket, "slept")
    process = _start(place, label_words(str(tmp_path / "slept"), out, "--part-size", "8"), Parts(out), 2)
    try:
        process.send_signal(signal.SIGSTOP)
        with only_writer(out) as hold:
            write_bytes(join(out, "summary.json"), b"of another run")
            before = {file: digest_file(file) for file in list_files(out)}
            process.send_signal(signal.SIGCONT)
            _, said = process.communicate(timeout=300)
            assert process.returncode == 1, said
            assert [line for line in said.splitlines() if line.startswith("error:")] == [said.splitlines()[-1]]
            assert "another one has taken its place" in said
            hold.check()
            after = {file: digest_file(file) for file in list_files(out)}
            assert {file: digest for file, digest in after.items() if file in before} == before
            # What was on its way to S3 when it was stopped may still arrive there, and nothing after it.
            assert len(after.keys() - before.keys()) <= 1
    finally:
        process.kill()

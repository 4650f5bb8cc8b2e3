"""What went wrong in a Ray worker, as the user is told of it."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from trygon.cluster.tasks import apart
from trygon.disk import writing_to
from trygon.errors import TrygonError, UserError, origin, report
from trygon.storage import read_json
from trygon.testing.commands import command
from trygon.testing.disks import twice_on_small_disk
from trygon.testing.photos import write_photo_folder

pytestmark = pytest.mark.ray


def _run(task: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    import ray.data

    ray.data.range(1).map(task).materialize()


# Tasks and workers are made inside the tests: Ray takes them along whole then, as no worker can import this module.


@pytest.mark.usefixtures("local_ray")
def test_a_workers_own_words_reach_the_user(capfd: pytest.CaptureFixture[str]) -> None:
    def ask_for_more(row: dict[str, Any]) -> dict[str, Any]:
        raise UserError(f"give more than\n{row['id']}")

    # Ray makes the type of the error while it runs.
    with pytest.raises(Exception, match="give more than") as caught:
        _run(ask_for_more)
    capfd.readouterr()
    assert report(caught.value) == 2
    assert capfd.readouterr().err == "error: give more than 0\n"


@pytest.mark.usefixtures("local_ray")
def test_a_worker_that_cannot_start_says_why() -> None:
    import ray.data

    class Unready:
        def __init__(self) -> None:
            raise UserError("the model folder is gone")

        def __call__(self, batch: pa.Table) -> pa.Table:
            return batch

    with pytest.raises(Exception, match="the model folder is gone") as caught:
        ray.data.range(1).map_batches(Unready, compute=ray.data.ActorPoolStrategy(size=1)).materialize()
    assert repr(origin(caught.value)) == repr(UserError("the model folder is gone"))


@pytest.mark.usefixtures("local_ray")
def test_a_worker_that_dies_is_told_with_the_way_on(capfd: pytest.CaptureFixture[str]) -> None:
    import ray

    @ray.remote(max_restarts=0)
    class Doomed:
        def die(self) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(Exception, match="died") as caught:
        ray.get(Doomed.remote().die.remote())  # pyright: ignore
    capfd.readouterr()
    assert report(caught.value) == 1
    told = capfd.readouterr().err
    assert told.startswith("error: a process of Ray died")
    assert told.endswith("the same command, given again, goes on\n")


@pytest.mark.usefixtures("local_ray")
def test_a_full_disk_under_a_worker_is_told_as_one_here(tmp_path: Path) -> None:
    def write(row: dict[str, Any]) -> dict[str, Any]:
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)
        return row

    with pytest.raises(TrygonError, match=f"the disk of {tmp_path} is full; free some space"), writing_to(tmp_path):
        _run(write)


@pytest.mark.usefixtures("local_ray")
def test_what_a_worker_may_not_do_is_the_users_to_mend() -> None:
    def write(row: dict[str, Any]) -> dict[str, Any]:
        Path("/dev/null/shards/a").write_text("")
        return row

    folder = Path("/dev/null/shards")
    with (
        pytest.raises(UserError, match="all workers can read the inputs and write /dev/null/shards"),
        writing_to(folder),
    ):
        _run(write)


@pytest.mark.slow
def test_curation_on_a_full_disk_ends_in_one_line_and_goes_on(tmp_path: Path) -> None:
    write_photo_folder(tmp_path / "photos")
    shards = tmp_path / "shards"
    words = command("curate", shards, "--source", tmp_path / "photos", "--views", "2", "--side", "48")
    assert twice_on_small_disk(shards, "100k", words) == [
        f"error: the disk of {shards} is full; free some space and give the same command again: it goes on"
    ]
    assert read_json(tmp_path / "shards.second/summary.json")["samples"]["train"] > 0


@pytest.mark.usefixtures("local_ray")
def test_a_process_of_its_own_that_dies_or_fails_is_told(tmp_path: Path) -> None:
    def count(name: str) -> int:
        (tmp_path / name).touch()
        return len(list(tmp_path.iterdir()))

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fail() -> None:
        raise UserError("give more")

    def wait() -> None:
        time.sleep(600)

    assert apart(count, "one", timeout_s=600) == 1
    with pytest.raises(TrygonError, match="its process died: "):
        apart(die, timeout_s=600)
    with pytest.raises(Exception, match="give more") as caught:
        apart(fail, timeout_s=600)
    assert str(origin(caught.value)) == "give more"
    with pytest.raises(TrygonError, match=r"it took longer than 0.05 minutes"):
        apart(wait, timeout_s=3)

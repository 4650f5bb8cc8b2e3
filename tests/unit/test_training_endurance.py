"""What ends training and what is tried again, checkpoints that are passed over, room for workers, and samples for a
step: without Ray."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError, WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import _CheckpointManagerState
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from trygon.cluster.room import places_on
from trygon.errors import PermanentError, TrygonError, UnavailableError, UserError
from trygon.lease import Hold
from trygon.storage import join, name_of, write_text
from trygon.testing.checkpoints import write_listed
from trygon.testing.s3 import s3_server, using
from trygon.testing.shards import ROWS, write_tiny_shards
from trygon.training import run as training_run
from trygon.training.checkpoint import Position, save_state
from trygon.training.checkpoints import (
    found_checkpoints,
    is_listed,
    latest_checkpoint,
    list_alone,
    remove_orphans,
    saved_step,
)
from trygon.training.endurance import Endurance
from trygon.training.interruptions import Interruptions, named, reason
from trygon.training.run import Team, Watcher, fit, mend_list
from trygon.training.settings import TrainSettings
from trygon.training.worker import memory_told


def _endurance(folder: Path, patience_s: float = 100) -> tuple[Endurance, Interruptions]:
    place = str(folder / "interruptions.jsonl")
    return Endurance(str(folder / "run"), Interruptions(place), 2, patience_s), Interruptions(place)


def _failed(**ranks: Exception) -> WorkerGroupError:
    return WorkerGroupError("failed", {int(name.removeprefix("rank")): error for name, error in ranks.items()})


def test_failures_count_from_the_last_new_checkpoint(tmp_path: Path) -> None:
    endurance, told = _endurance(tmp_path)
    died = _failed(rank0=RuntimeError("connection reset"), rank1=RuntimeError("the worker died"))
    for step in range(4, 12, 2):  # far more than two in all
        write_listed(tmp_path / "run", step)
        assert [endurance.make_decision(died) for _ in range(2)] == [FailureDecision.RETRY] * 2
    assert endurance.make_decision(died) == FailureDecision.RAISE
    *earlier, last = told.new()
    assert set(earlier) == {"interrupted: connection reset; training goes on from the last checkpoint"}
    assert last == "training ends: connection reset"


@pytest.mark.parametrize("error", [UserError("batch norm"), PermanentError("a.parquet is cut")])
def test_what_another_try_would_meet_again_is_not_tried_again(tmp_path: Path, error: Exception) -> None:
    endurance, told = _endurance(tmp_path)
    failure = _failed(rank0=TrygonError("S3 does not answer"), rank1=error)
    assert endurance.make_decision(failure) == FailureDecision.RAISE
    assert told.new() == [f"training ends: {error}"]


def test_an_error_of_ours_that_may_pass_is_tried_again(tmp_path: Path) -> None:
    endurance, _ = _endurance(tmp_path)
    assert endurance.make_decision(_failed(rank1=TrygonError("S3 does not answer"))) == FailureDecision.RETRY


def test_workers_that_do_not_start_are_waited_for_and_no_longer_than_that(tmp_path: Path) -> None:
    late = ControllerError(WorkerGroupStartupTimeoutError(2))
    assert _endurance(tmp_path)[0].make_decision(late) == FailureDecision.RETRY
    assert _endurance(tmp_path, patience_s=0)[0].make_decision(late) == FailureDecision.RAISE
    assert _endurance(tmp_path)[0].make_decision(ControllerError(ValueError("a bug"))) == FailureDecision.RAISE


def test_patience_begins_anew_where_workers_did_start(tmp_path: Path) -> None:
    late = ControllerError(WorkerGroupStartupTimeoutError(2))
    endurance, told = _endurance(tmp_path, patience_s=0.2)
    for _ in range(2):
        assert endurance.make_decision(late) == FailureDecision.RETRY
        time.sleep(0.3)
    assert sum("workers do not start" in news for news in told.new()) == 2


@pytest.mark.parametrize(("patience_s", "num_tries"), [(100, 9), (0, 2)])
def test_an_s3_that_is_away_for_a_while_ends_no_run(tmp_path: Path, patience_s: float, num_tries: int) -> None:
    """Not where it is a worker that meets it, and not where it is Ray Train's controller."""
    endurance = Endurance("s3://not a bucket/run", Interruptions(str(tmp_path / "told")), 2, patience_s)
    away = UnavailableError("S3 does not answer")
    failures = [_failed(rank0=away), *[ControllerError(away)] * 8]
    assert [endurance.make_decision(failure) for failure in failures[:num_tries]] == [
        FailureDecision.RETRY
    ] * num_tries
    if not patience_s:
        assert endurance.make_decision(failures[0]) == FailureDecision.RAISE


def test_other_errors_of_the_storage_count(tmp_path: Path) -> None:
    endurance = Endurance("s3://not a bucket/run", Interruptions(str(tmp_path / "told")), 2, 100)
    decisions = [endurance.make_decision(_failed(rank0=TrygonError("no such upload"))) for _ in range(3)]
    assert decisions == [FailureDecision.RETRY, FailureDecision.RETRY, FailureDecision.RAISE]


def test_a_storage_is_not_waited_for_without_an_end(tmp_path: Path) -> None:
    endurance, _ = _endurance(tmp_path, patience_s=0.3)
    assert endurance.make_decision(_failed(rank0=UnavailableError("S3 does not answer"))) == FailureDecision.RETRY
    time.sleep(0.2)
    assert endurance.make_decision(_failed(rank0=UnavailableError("S3 does not answer"))) == FailureDecision.RETRY
    time.sleep(0.2)
    decisions = [endurance.make_decision(_failed(rank0=UnavailableError("S3 does not answer"))) for _ in range(3)]
    assert decisions == [FailureDecision.RETRY, FailureDecision.RETRY, FailureDecision.RAISE]


def test_a_folder_at_an_address_with_options_is_found(tmp_path: Path) -> None:
    with s3_server("runs") as address, using(address):
        place = f"s3://runs/mine/checkpoints/run?endpoint_override={address.removeprefix('http://')}&scheme=http"
        for name in ("leg-000001/state.pt", "leg-000002/state.pt"):
            write_text(join(place, name), "")
        assert [name_of(folder) for folder in found_checkpoints(place)] == ["leg-000002", "leg-000001"]
        list_alone(found_checkpoints(place)[0], place, 2, 8)
        assert (name_of(latest_checkpoint(place) or ""), saved_step(place)) == ("leg-000002", 8)
        remove_orphans(place)
        assert [name_of(folder) for folder in found_checkpoints(place)] == ["leg-000002"]


def test_training_goes_back_behind_a_broken_checkpoint(tmp_path: Path) -> None:
    told: list[str] = []
    assert (latest_checkpoint(str(tmp_path)), saved_step(str(tmp_path))) == (None, 0)
    write_listed(tmp_path, 8, 12)
    assert (latest_checkpoint(str(tmp_path)), saved_step(str(tmp_path))) == (str(tmp_path / "leg-000012"), 12)
    with pytest.raises(PermanentError, match="there is no whole checkpoint"):
        mend_list(str(tmp_path), told.append)
    save_state(tmp_path / "leg-000008", {"weights": {}, "average": {}} | asdict(Position(8, 8)))
    assert mend_list(str(tmp_path), told.append)
    assert told == [
        f"the checkpoint in {tmp_path / 'leg-000012'} is not whole; training goes on from {tmp_path / 'leg-000008'}"
    ]
    assert (latest_checkpoint(str(tmp_path)), saved_step(str(tmp_path))) == (str(tmp_path / "leg-000008"), 8)
    remove_orphans(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["leg-000008"]
    assert not mend_list(str(tmp_path), told.append)  # it was not the checkpoint
    assert len(told) == 1


def test_half_a_list_is_made_anew_of_the_last_whole_checkpoint(tmp_path: Path) -> None:
    told: list[str] = []
    mend_list(str(tmp_path), told.append)
    assert told == []
    write_listed(tmp_path, 4, 8, 12)
    assert is_listed(str(tmp_path))
    listed = tmp_path / "checkpoint_manager_snapshot.json"
    listed.write_bytes(listed.read_bytes()[:200])
    assert not is_listed(str(tmp_path))
    with pytest.raises(PermanentError, match="there is no whole checkpoint"):
        mend_list(str(tmp_path), told.append)
    for step in (4, 8):
        save_state(tmp_path / f"leg-{step:06d}", {"weights": {}, "average": {}} | asdict(Position(step, step)))
    assert mend_list(str(tmp_path), told.append)
    assert told == [f"the list of checkpoints was not whole; training goes on from {tmp_path / 'leg-000008'}"]
    assert saved_step(str(tmp_path)) == 8
    remove_orphans(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["leg-000008"]
    as_ray_reads_it = _CheckpointManagerState.model_validate_json(listed.read_text())
    assert as_ray_reads_it.ray_version == ray.__version__


def test_checkpoints_without_a_list_are_not_thrown_away(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "leg-000004").mkdir()
    (tmp_path / "leg-000004" / "state.pt").write_text("half of it")
    mend_list(str(tmp_path), told.append)  # killed before the first one was whole
    assert (told, latest_checkpoint(str(tmp_path))) == ([], None)
    save_state(tmp_path / "leg-000004", {"weights": {}, "average": {}} | asdict(Position(1, 4)))
    mend_list(str(tmp_path), told.append)
    assert len(told) == 1
    remove_orphans(str(tmp_path))
    assert latest_checkpoint(str(tmp_path)) == str(tmp_path / "leg-000004")


def test_a_gpu_that_is_too_small_is_told_with_what_to_give() -> None:
    with pytest.raises(UserError, match=r"give --micro-batch.*\(CUDA out of memory"), memory_told(4, 4):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")


def test_a_step_that_only_fewer_workers_cannot_hold_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(TrygonError, match="does not hold a step of 4 of 8 workers") as told, memory_told(4, 8):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert _endurance(tmp_path)[0].make_decision(_failed(rank0=told.value)) == FailureDecision.RETRY


def test_a_peer_that_is_gone_is_told_without_where_gloo_says_so_and_what_it_advises() -> None:
    told = "[/src/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:2998: Connection reset by peer. See the logs."
    assert reason({1: RuntimeError(f"Traceback\n{told}")}) == (
        "a worker that others talked to has ended, or its machine is gone "
        "(Read error [127.0.0.1]:2998: Connection reset by peer)"
    )


def test_workers_that_waited_are_named_so_that_the_one_that_hangs_is_known() -> None:
    late = RuntimeError("[/src/gloo/buffer.cc:72] Timed out waiting 10000ms for recv operation to complete")
    told = reason({3: late, 0: late, 2: late})
    assert told.startswith("workers 0, 2 and 3 waited in vain for one that hangs, or whose machine is gone (")
    assert reason({1: late, 0: RuntimeError("Connection reset by peer")}).startswith("worker 1 waited in vain")


def test_ranks_are_named_in_few_words() -> None:
    assert named([3]) == "worker 3"
    assert named([0, 1, 5]) == "workers 0, 1 and 5"
    assert named([*range(100), 101, *range(103, 512)]) == "workers 0 to 99, 101 and 103 to 511"
    assert named(range(0, 512, 2)) == "256 workers"


def test_workers_that_end_without_a_word_are_told_as_what_that_can_be() -> None:
    """As NCCL ends them where one hangs; Ray knows no more than that they are gone, and guesses."""
    died = RuntimeError(
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
        "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the "
        "process was killed by the OOM killer due to high memory usage, (2) ray stop --force was called"
    )
    failures = {rank: WorkerHealthCheckFailedError(f"Worker {rank} failed", died) for rank in (1, 2)}
    told = reason({0: RuntimeError("Connection closed by peer"), **failures})
    assert told.startswith("workers 1 and 2 ended without a word: killed, out of memory or, on GPUs, ")
    assert "\n" not in told
    known = WorkerHealthCheckFailedError("Worker 1 failed", RuntimeError("The actor died because its node has died."))
    assert reason({1: known}) == "The actor died because its node has died."


def test_no_worker_lies_on_two_machines() -> None:
    nodes = [{"Resources": {"CPU": 7.0, "GPU": 2.0}}, {"Resources": {"CPU": 2.0}}, {"Resources": {"CPU": 4.0}}]
    assert places_on(nodes, {"CPU": 1.5, "GPU": 1}) == 2
    assert places_on(nodes, {"CPU": 1.5}) == 4 + 1 + 2
    assert places_on(nodes, {"CPU": 8}) == 0


def test_samples_that_fill_no_step_are_told_before_any_worker_starts(tmp_path: Path) -> None:
    shards = write_tiny_shards(tmp_path / "shards", count=2)
    settings = TrainSettings(
        initial="", shards=tuple(map(str, sorted(shards.glob("train-*.parquet")))), taxa="", metrics="",
        row_groups=str(tmp_path / "row_groups.parquet"), batch_size=3 * 2 * ROWS + 1, epochs=3,
    )  # fmt: skip
    told: list[str] = []
    expected = r"fewer training samples in all epochs than one step takes \(97\): lower --batch-size"
    with pytest.raises(UserError, match=expected):
        fit(
            settings,
            str(tmp_path / "out"),
            Team(1, 1, False),
            Watcher(lambda *_: None, lambda _: None, told.append),
            Hold(),
        )
    assert not told


def test_workers_that_start_at_unlike_speeds_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until they have taken a step: after it, each waits as long as it is told to."""
    monkeypatch.setattr(training_run, "_followed", lambda trainer, *_: trainer)
    for told_s, limit_s in ((10, 600), (900, 900)):
        settings = TrainSettings(
            initial="",
            shards=(),
            taxa="",
            metrics=f"{tmp_path}/m",
            validation=f"{tmp_path}/v",
            collective_timeout_s=told_s,
        )
        trainer: Any = training_run._attempt(
            settings,
            str(tmp_path),
            Team(1, 1, False),
            Watcher(lambda *_: None, lambda _: None, lambda _: None),
            Hold(),
        )
        assert trainer.backend_config.timeout_s == limit_s


def test_checkpoints_are_found_however_their_folder_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_text("mine/run/leg-000001/state.pt", "")
    assert found_checkpoints("./mine//run") == ["mine/run/leg-000001"]

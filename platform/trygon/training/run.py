"""A training run as the driver sees it: Ray Train's workers, their progress, and the finished network."""

import _thread
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray.train
from ray.train.torch import TorchTrainer

from trygon.errors import TrygonError, UserError, origin
from trygon.lease import Hold
from trygon.storage import is_remote, open_input
from trygon.training.filesystem import checkpoint_storage
from trygon.training.settings import TrainSettings
from trygon.training.worker import plan, train_worker

_POLL_S = 0.5
_POLL_REMOTE_S = 5.0
_TAIL_BYTES = 4096


def fit(
    settings: TrainSettings,
    storage: str,
    num_workers: int,
    use_gpu: bool,
    on_step: Callable[[dict[str, Any]], None],
    hold: Hold,
) -> ray.train.Checkpoint:
    """Train to the end, from the last checkpoint in `storage` if there is one, a whole path or an address; the final
    state.

    It ends where the `hold` on the output is lost, with the error that says so. With `use_gpu` each worker has a GPU
    of its own, and they talk through NCCL; else through gloo. `on_step` is handed the newest line of metrics again and
    again. Raises `UserError` where the shards do not fill a step.
    """
    if not sum(leg.num_steps for leg in plan(settings, num_workers)):
        raise UserError(
            f"--shards: too few training samples for batches of {settings.batch_size} over {num_workers} workers: "
            "lower --batch-size or --workers"
        )
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=settings.as_dict(),
        scaling_config=ray.train.ScalingConfig(num_workers=num_workers, use_gpu=use_gpu),
        run_config=ray.train.RunConfig(
            name="run",
            **checkpoint_storage(storage),
            failure_config=ray.train.FailureConfig(max_failures=2),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )
    try:
        with _followed(settings.metrics, on_step, hold):
            result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise _failure(error, storage) from error
    finally:
        hold.check()  # where this is why the run was interrupted, say it
    assert result.checkpoint is not None, "every leg reports one"
    return result.checkpoint


def _failure(error: ray.train.TrainingFailedError, storage: str) -> TrygonError:
    """What the first worker to fail raised, in one line."""
    failures = list(getattr(error, "worker_failures", {}).values())
    cause = origin(failures[0]) if failures else error
    if isinstance(cause, TrygonError):
        return cause
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return TrygonError(f"training failed: {lines[-1]} (the last checkpoint in {storage} is kept; run again)")


@contextmanager
def _followed(metrics: str, on_step: Callable[[dict[str, Any]], None], hold: Hold) -> Iterator[None]:
    """Hand over the last line of a growing file from time to time, from another thread, until the end; interrupt the
    run where the hold is lost."""
    ended = threading.Event()
    thread = threading.Thread(target=_follow, args=(metrics, on_step, hold, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _follow(metrics: str, on_step: Callable[[dict[str, Any]], None], hold: Hold, ended: threading.Event) -> None:
    finished = False
    while not finished:
        finished = ended.wait(_POLL_REMOTE_S if is_remote(metrics) else _POLL_S)
        try:
            hold.check()
        except TrygonError:
            return _thread.interrupt_main()
        if line := _last_line(metrics):
            on_step(json.loads(line))
    return None


def _last_line(place: str) -> bytes:
    """The last whole line of a file; nothing where there is none yet, or S3 does not answer."""
    with suppress(FileNotFoundError, TrygonError), open_input(place) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        whole, _, _ = file.read().rpartition(b"\n")
        return whole.rpartition(b"\n")[2]
    return b""

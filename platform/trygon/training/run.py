"""A training run as the driver sees it: Ray Train's workers, their progress, and the finished network."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train.torch import TorchTrainer

from trygon.errors import TrygonError
from trygon.training.settings import TrainSettings
from trygon.training.worker import train_worker

_POLL_S = 0.5


def fit(settings: TrainSettings, storage: Path, num_workers: int, on_step: Callable[[dict[str, Any]], None]) -> Path:
    """Train to the end, from the last checkpoint in `storage` if there is one; the folder of the final state.

    GPUs are used where there are any, with NCCL; else CPUs with gloo. `on_step` is handed each new line of metrics.
    """
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=settings.as_dict(),
        scaling_config=ray.train.ScalingConfig(num_workers=num_workers, use_gpu=torch.cuda.is_available()),
        run_config=ray.train.RunConfig(
            name="run",
            storage_path=str(storage),
            failure_config=ray.train.FailureConfig(max_failures=2),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )
    try:
        with _followed(Path(settings.metrics), on_step):
            result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        reasons = [str(reason) for reason in getattr(error, "worker_failures", {}).values()] or [str(error)]
        line = reasons[0].strip().splitlines()[-1]
        raise TrygonError(f"training failed: {line} (the last checkpoint in {storage} is kept; run again)") from error
    if result.checkpoint is None:
        raise TrygonError("training took no step: the shards hold fewer samples than one batch; lower --batch-size")
    return Path(result.checkpoint.path)


@contextmanager
def _followed(metrics: Path, on_step: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Hand over new lines of a growing file, from another thread, until the end."""
    ended = threading.Event()
    thread = threading.Thread(target=_follow, args=(metrics, on_step, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _follow(metrics: Path, on_step: Callable[[dict[str, Any]], None], ended: threading.Event) -> None:
    last = 0
    while True:
        finished = ended.wait(_POLL_S)
        lines = metrics.read_text().splitlines() if metrics.is_file() else []
        for line in lines[last:]:
            try:
                on_step(json.loads(line))
            except ValueError:  # half a line: it is whole at the next look
                break
            last += 1
        last = min(last, len(lines))
        if finished:
            return

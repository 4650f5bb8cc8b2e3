"""A training run as the driver sees it: Ray Train's workers, what they tell, and the finished state."""

import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import ray.train
import ray.train.torch
from ray.train.constants import TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.constants import COLLECTIVE_TIMEOUT_S_ENV_VAR
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from trygon.cluster.local import inside_cluster
from trygon.cluster.room import Room
from trygon.data.ingest import READER_CPUS
from trygon.data.row_groups import keep_row_groups
from trygon.errors import PermanentError, TrygonError, UserError
from trygon.lease import Hold, LostError
from trygon.mirror import local_folder
from trygon.storage import is_remote, join, open_input
from trygon.training.allocator import allocator
from trygon.training.checkpoints import (
    RUN,
    BrokenError,
    found_checkpoints,
    has_list,
    is_listed,
    is_whole,
    latest_checkpoint,
    list_alone,
    remove_orphans,
)
from trygon.training.endurance import Endurance
from trygon.training.filesystem import checkpoint_storage
from trygon.training.interruptions import Interruptions, cause_of, reason
from trygon.training.measurements import Measurements, Told, described
from trygon.training.reading import plan_of
from trygon.training.settings import FIRST_STEP_S, TrainSettings
from trygon.training.validation import validate

_POLL_S = 0.5
_POLL_REMOTE_S = 5.0
_FAILURES, _ELASTIC_FAILURES = 2, 20
"""That many are mended without a new checkpoint between them."""
_SHUTDOWN_S = "5"
"""That long workers are given to leave their group before they are ended: one that hangs never does."""


@dataclass(frozen=True)
class Team:
    """The workers of a run: between the least and the most take part, as many as there is room for. With `use_gpu`
    each has a GPU of its own, and they talk through NCCL; else through gloo."""

    least: int
    most: int
    use_gpu: bool

    @property
    def is_fixed(self) -> bool:
        """Whether all of them must be there."""
        return self.least == self.most


@dataclass(frozen=True)
class Watcher:
    """Who follows a run. `on_step` is handed each line of metrics, and whether its step comes for the first time;
    `on_measured` the figures of each checkpoint that was measured; `tell` what people should know meanwhile."""

    on_step: Callable[[dict[str, Any], bool], None]
    on_measured: Callable[[dict[str, Any]], None]
    tell: Callable[[str], None]


def fit(settings: TrainSettings, out: str, team: Team, watcher: Watcher, hold: Hold) -> ray.train.Checkpoint:
    """Train to the end, from the last checkpoint in the model folder `out` if there is one, a whole path or an
    address; the final state.

    It ends where the `hold` on the output is lost, with the error that says so. Raises `UserError` where the shards do
    not fill a step, or there is no room for the workers.
    """
    keep_row_groups(settings.row_groups, settings.shards, settings.sources)
    if settings.replay:
        keep_row_groups(settings.replay_row_groups, settings.replay)
    plan = plan_of(settings)
    if not plan.num_steps:
        raise UserError(
            f"--shards: fewer training samples in all epochs than one step takes ({settings.batch_size}): "
            "lower --batch-size"
        )
    if plan.num_steps <= settings.warmup_steps:
        watcher.tell(
            f"all {plan.num_steps} steps are warm-up ({settings.warmup_steps}): the learning rates never "
            "reach what was given; lower --warmup-steps"
        )
    os.environ.setdefault(TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S, _SHUTDOWN_S)
    # Workers also wait for each other when they report.
    os.environ[COLLECTIVE_TIMEOUT_S_ENV_VAR] = str(settings.collective_timeout_s)
    storage = join(out, "checkpoints")
    place = join(storage, RUN)
    if not is_listed(place):  # a kill left half of it, or a copy of the run came without
        mend_list(place, watcher.tell)
    while True:
        remove_orphans(place)
        try:
            result = _attempt(settings, storage, team, watcher, hold)
            break
        except ray.train.TrainingFailedError as error:
            cause = _failure(error, storage)
            if not isinstance(cause, BrokenError) or not mend_list(place, watcher.tell):
                raise cause from error
    remove_orphans(place)
    if result.return_value:
        raise TrygonError(f"{result.return_value}; {_way_out(place, out)}")
    assert result.checkpoint is not None, "the last leg reports one"
    return result.checkpoint


def _way_out(place: str, out: str) -> str:
    """Of a run that diverged."""
    advice = "give lower learning rates or more --warmup-steps, and another --out"
    if latest_checkpoint(place) is None:
        return f"no checkpoint was due before that: {advice}"
    return (
        f"the last checkpoint before that is kept: {advice}; with --initial.model {out} training starts from that "
        "checkpoint"
    )


def _attempt(settings: TrainSettings, storage: str, team: Team, watcher: Watcher, hold: Hold) -> ray.train.Result:
    shape = {"CPU": 1 + READER_CPUS * settings.readers} | ({"GPU": 1} if team.use_gpu else {})
    interruptions = Interruptions(join(storage, "interruptions.jsonl"))
    measured = Told(Measurements(settings.validation))
    num_failures = _FAILURES if team.is_fixed else _ELASTIC_FAILURES
    trainer = _Trainer(
        _train,
        endurance=Endurance(join(storage, RUN), interruptions, num_failures, settings.wait_for_room_s),
        train_loop_config=settings.as_dict(),
        torch_config=ray.train.torch.TorchConfig(timeout_s=max(FIRST_STEP_S, round(settings.collective_timeout_s))),
        validation_config=_validation(settings),
        scaling_config=ray.train.ScalingConfig(
            num_workers=team.most if team.is_fixed else (team.least, team.most),
            use_gpu=team.use_gpu,
            resources_per_worker=shape,
            elastic_resize_monitor_interval_s=settings.resize_s,
        ),
        run_config=ray.train.RunConfig(
            name=RUN,
            **checkpoint_storage(storage),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            worker_runtime_env={"env_vars": {} if team.use_gpu else allocator()},
        ),
    )
    # What is on one machine alone does not grow.
    room = Room(shape, team.least, settings.wait_for_room_s if inside_cluster() else 0)

    def watch() -> None:
        _check(hold)
        for news in interruptions.new():
            watcher.tell(news)
        for line in measured.new():
            watcher.tell(described(line))
            if "problem" not in line:
                watcher.on_measured(line)
        if news := room.look():
            watcher.tell(news)

    return _followed(trainer, Lines(settings.metrics), watcher.on_step, watch)


class _Trainer(TorchTrainer):
    """A trainer that asks another judge of failures than Ray Train's own, which counts without end or up to a
    number."""

    def __init__(self, *args: Any, endurance: Endurance, **options: Any) -> None:
        super().__init__(*args, **options)
        self._endurance = endurance

    def _initialize_and_run_controller(self, **options: Any) -> ray.train.Result:
        return super()._initialize_and_run_controller(**options | {"failure_policy": self._endurance})


def _train(config: dict[str, Any]) -> str:
    """Each worker's loop. What that needs takes seconds to import: the controller, which hands it over, does without,
    and so does this process."""
    from trygon.training.worker import train_worker

    return train_worker(config)


def mend_list(place: str, tell: Callable[[str], None]) -> bool:
    """Put the last whole checkpoint on a new list of Ray Train's, alone; False where that changes nothing.
    `PermanentError` where none is whole."""
    whole = next(filter(is_whole, found_checkpoints(place)), None)
    if whole is None and not has_list(place):  # before the first one was whole
        return False
    if whole is None:
        raise PermanentError(f"there is no whole checkpoint in {place}: remove it to train from the beginning")
    latest = latest_checkpoint(place) if is_listed(place) else None
    if whole == latest:
        return False
    from trygon.training.checkpoint import load_weights

    _, position = load_weights(local_folder(whole))
    list_alone(whole, place, position.leg, position.step)
    broken = f"the checkpoint in {latest} is" if latest else "the list of checkpoints was"
    tell(f"{broken} not whole; training goes on from {whole}")
    return True


def _validation(settings: TrainSettings) -> ray.train.ValidationConfig | None:
    if not settings.validation_samples:
        return None
    task = ray.train.ValidationTaskConfig(fn_kwargs={"settings": settings})
    return ray.train.ValidationConfig(cast(Any, validate), task, {"num_cpus": 1})


def _failure(error: ray.train.TrainingFailedError, storage: str) -> TrygonError:
    """Why workers failed for good, in one line."""
    kept = f"(the last checkpoint in {storage} is kept; run again)"
    if isinstance(getattr(error, "controller_failure", None), WorkerGroupStartupTimeoutError):
        return TrygonError(f"there was no room for the workers for long: others hold the machines {kept}")
    failures: dict[int, Exception] = getattr(error, "worker_failures", None) or {0: error}
    cause = cause_of(failures)
    return cause if isinstance(cause, TrygonError) else TrygonError(f"training failed: {reason(failures)} {kept}")


def _followed(
    trainer: TorchTrainer, lines: "Lines", on_step: Callable[[dict[str, Any], bool], None], watch: Callable[[], None]
) -> ray.train.Result:
    """Run the trainer in a thread of its own, and see meanwhile to what it tells. In the main thread it would answer
    to Ctrl-C itself, and end this process as if all were well."""
    ended = threading.Event()
    results: list[ray.train.Result | BaseException] = []

    def run() -> None:
        try:
            results.append(trainer.fit())
        except BaseException as error:
            results.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, name="trainer", daemon=True).start()
    finished = False
    while not finished:
        finished = ended.wait(lines.poll_s)
        watch()
        for line, is_first in lines.new():
            on_step(line, is_first)
    (result,) = results
    if isinstance(result, BaseException):
        raise result
    return result


def _check(hold: Hold) -> None:
    """Raise where the output is another run's by now. An S3 that does not answer for a while says nothing of that."""
    try:
        hold.check()
    except LostError:
        raise
    except TrygonError:
        return


class Lines:
    """The lines of a metrics file that were not seen yet. A run that goes on from a checkpoint writes it anew, and
    comes to the steps behind the checkpoint again."""

    def __init__(self, place: str) -> None:
        self.poll_s = _POLL_REMOTE_S if is_remote(place) else _POLL_S
        self._place = place
        self._offset = self._step = 0
        self._time = 0.0
        deque(self.new(), maxlen=0)  # those of an earlier run

    def new(self) -> Iterator[tuple[dict[str, Any], bool]]:
        """Those that came since, and whether their steps come for the first time. None where S3 does not answer."""
        with suppress(FileNotFoundError, TrygonError), open_input(self._place) as file:
            size = file.seek(0, 2)
            if size < self._offset:
                self._offset = 0
            file.seek(self._offset)
            whole, end, _ = file.read().rpartition(b"\n")
            self._offset += len(whole) + len(end)
            try:
                lines = [json.loads(text) for text in whole.splitlines()]
            except ValueError:  # it was written anew, and is longer than it was
                self._offset, lines = 0, []
            for line in lines:
                is_first, is_new = line["step"] > self._step, line["time"] > self._time
                self._step, self._time = max(self._step, line["step"]), max(self._time, line["time"])
                if is_first or is_new:
                    yield line, is_first

"""Where a run's figures are followed: TensorBoard's files, MLflow, Weights & Biases. The driver tells each line."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from trygon.errors import TrygonError, UserError
from trygon.storage import absolute, copy_file, digest_texts, is_remote, join

_LOG = logging.getLogger(__name__)
Tracker = Literal["tensorboard", "mlflow", "wandb"]
Kind = Literal["train", "val"]
"""What figures are of: a step of training, or the checkpoint of a step on validation pictures."""


@dataclass(frozen=True)
class Point:
    """Figures of a step, under names that begin with their kind: `train/loss`, `val/species/top1`."""

    kind: Kind
    step: int
    figures: dict[str, float]

    @staticmethod
    def of(line: dict[str, Any], kind: Kind) -> "Point":
        """Of a line of metrics or of measurements: `step`, and numbers under their names."""
        figures = {f"{kind}/{name}": value for name, value in line.items() if name not in _NO_FIGURES}
        return Point(kind, line["step"], figures)


Track = Callable[[Point], None]

_COPY_S = 300.0
_RETRY_S = 300.0
"""That long a tracker that failed is left alone: to find a server away may take minutes, in which no step is
followed."""
_MOST_KEPT = 10_000
"""Lines that are kept for a tracker that is away: some megabytes. The oldest go first."""
_AT_ONCE = 100
"""Lines that one that is back is handed beside each new one."""
_PROJECT = "trygon"
_OUTPUT_TAG = "trygon.output"
_NO_FIGURES = {"step", "num_steps", "time"}


def _run_id(out: str) -> str:
    """The same output is the same run: one that goes on is drawn on."""
    return digest_texts([absolute(out)])[:16]


@contextmanager
def _tensorboard(out: str, _: dict[str, Any]) -> Iterator[Track]:
    """Event files in the folder `tensorboard` of the output; to S3 they come every few minutes and at the end."""
    from torch.utils.tensorboard import SummaryWriter

    with ExitStack() as stack:
        place = join(out, "tensorboard")
        folder = stack.enter_context(TemporaryDirectory(prefix="trygon-")) if is_remote(place) else place
        writer = SummaryWriter(folder)

        due, is_away = time.monotonic() + _COPY_S, False

        def copy() -> None:
            for path in Path(folder).iterdir() if is_remote(place) else ():
                copy_file(path, join(place, path.name))

        def try_to_copy() -> None:
            """The files here have all lines, and a later copy brings them too."""
            nonlocal due, is_away
            try:
                copy()
                is_away = False
            except (OSError, TrygonError) as error:
                if not is_away:
                    _LOG.warning("TensorBoard's files are not copied to %s now, and will be later: %s", place, error)
                is_away = True
            due = time.monotonic() + _COPY_S

        def track(point: Point) -> None:
            for name, value in point.figures.items():
                writer.add_scalar(name, value, point.step)
            if time.monotonic() > due:
                writer.flush()
                try_to_copy()

        try:
            yield track
        finally:
            writer.close()
            copy()


@contextmanager
def _mlflow(out: str, config: dict[str, Any]) -> Iterator[Track]:
    mlflow = _imported("mlflow")
    experiment = mlflow.set_experiment(_PROJECT).experiment_id
    wanted = f"tags.`{_OUTPUT_TAG}` = '{_run_id(out)}'"
    known = mlflow.search_runs([experiment], wanted, max_results=1, output_format="list")
    with mlflow.start_run(run_id=known[0].info.run_id if known else None, run_name=out):
        if not known:
            mlflow.set_tag(_OUTPUT_TAG, _run_id(out))
            mlflow.log_params(config)
        yield lambda point: mlflow.log_metrics(point.figures, step=point.step)


@contextmanager
def _wandb(out: str, config: dict[str, Any]) -> Iterator[Track]:
    wandb = _imported("wandb")
    run = wandb.init(project=_PROJECT, id=_run_id(out), name=out, config=config, resume="allow")
    # Its own steps only ever rise, and a checkpoint is measured some steps later.
    run.define_metric("val/*", step_metric="val/step")

    def track(point: Point) -> None:
        if point.kind == "val":
            run.log(point.figures | {"val/step": point.step})
        else:
            run.log(point.figures, step=point.step)

    try:
        yield track
    finally:
        run.finish()


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"--trackers {name} needs the package {name}: pip install {name}") from error


_TRACKERS = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
_PACKAGES = ("mlflow", "wandb")
"""Trackers that need one which does not come with trygon, each of the same name."""


class _Patient:
    """A tracker that may be away for a while: what it does not take is kept, and comes when it is back."""

    def __init__(self, name: Tracker, track: Track) -> None:
        self._name, self._track = name, track
        self._kept: deque[Point] = deque(maxlen=_MOST_KEPT)
        self._due, self._is_away = 0.0, False

    def add(self, point: Point) -> None:
        """Hand over the figures of a step, or keep them for later."""
        self._kept.append(point)
        if time.monotonic() >= self._due:
            self._hand_over(_AT_ONCE)

    def end(self) -> None:
        """Hand over all that is kept, as nothing tries again later."""
        self._hand_over(_MOST_KEPT)
        if self._kept:
            _LOG.warning("the tracker %s lacks %d lines, of step %d and later: metrics.jsonl has them",
                         self._name, len(self._kept), self._kept[0].step)  # fmt: skip

    def _hand_over(self, most: int) -> None:
        try:
            for _ in range(min(most, len(self._kept))):
                self._track(self._kept[0])
                self._kept.popleft()
            self._is_away = False
        except Exception as error:  # a server that is away must not end a month of training
            self._due = time.monotonic() + _RETRY_S
            if not self._is_away:
                _LOG.warning("the tracker %s does not take step %d now, and is tried again every few minutes: %s",
                             self._name, self._kept[0].step, error)  # fmt: skip
            self._is_away = True


def check_installed(trackers: Sequence[Tracker]) -> None:
    """`UserError` where the package of a tracker is not installed."""
    for name in trackers:
        if name in _PACKAGES:
            _imported(name)


@contextmanager
def tracked(
    trackers: tuple[Tracker, ...], out: str, config: dict[str, Any]
) -> Iterator[Callable[[dict[str, Any], Kind], None]]:
    """Begin with all trackers; what is yielded hands a line of metrics or of measurements to each. `UserError` where
    one cannot begin, or is not installed."""
    with ExitStack() as stack:
        patient = [_begun(stack, name, out, config) for name in dict.fromkeys(trackers)]

        def track(line: dict[str, Any], kind: Kind) -> None:
            for one in patient:
                one.add(Point.of(line, kind))

        yield track


def _begun(stack: ExitStack, name: Tracker, out: str, config: dict[str, Any]) -> _Patient:
    tracker = _TRACKERS[name](out, config)
    try:
        patient = _Patient(name, tracker.__enter__())
    except UserError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"--trackers {name} cannot begin: {reason}") from error

    def leave(*raised: Any) -> None:
        if not isinstance(raised[1], KeyboardInterrupt):  # who stops a run does not wait for a server that is away
            patient.end()
        try:
            tracker.__exit__(*raised)
        except Exception as error:
            if error is not raised[1]:
                _LOG.warning("the tracker %s could not end: %s", name, error)

    stack.push(leave)
    return patient

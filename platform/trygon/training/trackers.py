"""Where a run's figures are followed: TensorBoard's files, MLflow, Weights & Biases. The driver tells each line."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from trygon.errors import UserError
from trygon.storage import absolute, copy_file, digest_texts, is_remote, join

_LOG = logging.getLogger(__name__)
Tracker = Literal["tensorboard", "mlflow", "wandb"]
Track = Callable[[dict[str, Any]], None]
"""Takes a line of metrics: `step`, and numbers under their names."""


_COPY_S = 300.0
_PROJECT = "trygon"
_OUTPUT_TAG = "trygon.output"
_NO_FIGURES = {"step", "num_steps", "time"}


def _run_id(out: str) -> str:
    """The same output is the same run: one that goes on is drawn on."""
    return digest_texts([absolute(out)])[:16]


def _figures(line: dict[str, Any]) -> dict[str, float]:
    return {f"train/{name}": value for name, value in line.items() if name not in _NO_FIGURES}


@contextmanager
def _tensorboard(out: str, _: dict[str, Any]) -> Iterator[Track]:
    """Event files in the folder `tensorboard` of the output; to S3 they come every few minutes and at the end."""
    from torch.utils.tensorboard import SummaryWriter

    with ExitStack() as stack:
        place = join(out, "tensorboard")
        folder = stack.enter_context(TemporaryDirectory(prefix="trygon-")) if is_remote(place) else place
        writer = SummaryWriter(folder)

        due = time.monotonic() + _COPY_S

        def copy() -> None:
            for path in Path(folder).iterdir() if is_remote(place) else ():
                copy_file(path, join(place, path.name))

        def track(line: dict[str, Any]) -> None:
            nonlocal due
            for name, value in _figures(line).items():
                writer.add_scalar(name, value, line["step"])
            if time.monotonic() > due:
                writer.flush()
                copy()
                due = time.monotonic() + _COPY_S

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
        yield lambda line: mlflow.log_metrics(_figures(line), step=line["step"])


@contextmanager
def _wandb(out: str, config: dict[str, Any]) -> Iterator[Track]:
    wandb = _imported("wandb")
    run = wandb.init(project=_PROJECT, id=_run_id(out), name=out, config=config, resume="allow")
    try:
        yield lambda line: run.log(_figures(line), step=line["step"])
    finally:
        run.finish()


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"--trackers {name} needs the package {name}: pip install {name}") from error


_TRACKERS = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}


@contextmanager
def tracked(trackers: tuple[Tracker, ...], out: str, config: dict[str, Any]) -> Iterator[Track]:
    """Begin with all trackers; what is yielded hands a line to each. `UserError` where one cannot begin, or is not
    installed."""
    with ExitStack() as stack:
        tracks = [_begun(stack, name, out, config) for name in dict.fromkeys(trackers)]

        def track(line: dict[str, Any]) -> None:
            for one in list(tracks):
                try:
                    one(line)
                except Exception as error:  # a server that is away must not end a month of training
                    tracks.remove(one)
                    _LOG.warning("a tracker is left out from step %d on: %s", line["step"], error)

        yield track


def _begun(stack: ExitStack, name: Tracker, out: str, config: dict[str, Any]) -> Track:
    tracker = _TRACKERS[name](out, config)

    def leave(*raised: Any) -> None:
        try:
            tracker.__exit__(*raised)
        except Exception as error:
            if error is not raised[1]:
                _LOG.warning("the tracker %s could not end: %s", name, error)

    try:
        track = tracker.__enter__()
    except UserError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"--trackers {name} cannot begin: {reason}") from error
    stack.push(leave)
    return track

"""Where a run's figures are followed: TensorBoard's files, MLflow, Weights & Biases. The driver tells each line."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from trygon.errors import UserError
from trygon.storage import copy_file, digest_texts, is_remote, join

_LOG = logging.getLogger(__name__)
Tracker = Literal["tensorboard", "mlflow", "wandb"]
Track = Callable[[dict[str, Any]], None]
"""Takes a line of metrics: `step`, and numbers under their names."""


_NO_FIGURES = {"step", "num_steps", "time"}


def _figures(line: dict[str, Any]) -> dict[str, float]:
    return {f"train/{name}": value for name, value in line.items() if name not in _NO_FIGURES}


@contextmanager
def _tensorboard(out: str, _: dict[str, Any]) -> Iterator[Track]:
    """Event files in the folder `tensorboard` of the output; to S3 they come at the end."""
    from torch.utils.tensorboard import SummaryWriter

    with ExitStack() as stack:
        place = join(out, "tensorboard")
        folder = stack.enter_context(TemporaryDirectory(prefix="trygon-")) if is_remote(place) else place
        writer = SummaryWriter(folder)

        def track(line: dict[str, Any]) -> None:
            for name, value in _figures(line).items():
                writer.add_scalar(name, value, line["step"])

        try:
            yield track
        finally:
            writer.close()
            if is_remote(place):
                for path in Path(folder).iterdir():
                    copy_file(path, join(place, path.name))


@contextmanager
def _mlflow(out: str, config: dict[str, Any]) -> Iterator[Track]:
    mlflow = _imported("mlflow")
    with mlflow.start_run(run_name=out):
        mlflow.log_params(config)
        yield lambda line: mlflow.log_metrics(_figures(line), step=line["step"])


@contextmanager
def _wandb(out: str, config: dict[str, Any]) -> Iterator[Track]:
    wandb = _imported("wandb")
    # The same output is the same run: one that goes on is drawn on.
    run = wandb.init(project="trygon", id=digest_texts([out])[:16], name=out, config=config, resume="allow")
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
    """Begin with all trackers; what is yielded hands a line to each. `UserError` where one is not installed."""
    with ExitStack() as stack:
        tracks = [stack.enter_context(_TRACKERS[name](out, config)) for name in dict.fromkeys(trackers)]

        def track(line: dict[str, Any]) -> None:
            for one in list(tracks):
                try:
                    one(line)
                except Exception as error:  # a server that is away must not end a month of training
                    tracks.remove(one)
                    _LOG.warning("a tracker is left out from step %d on: %s", line["step"], error)

        yield track

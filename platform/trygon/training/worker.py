"""The loop that each Ray Train worker runs: legs of steps, a checkpoint after each."""

import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trygon.data.ingest import Preparation, draw_step_text_type, list_row_groups, stream
from trygon.models.model import Model, load_model
from trygon.storage import exists, is_remote, read_bytes, stable_id, write_text
from trygon.training.checkpoint import Position, load_state, save_state
from trygon.training.objective import gather
from trygon.training.plan import Leg, plan_legs
from trygon.training.settings import TrainSettings
from trygon.training.step import Towers, freeze, optimiser_of, set_learning_rate, take_step

_SAVE_S = 30.0


def train_worker(config: dict[str, Any]) -> None:
    """Train from the latest checkpoint, or from the initial model, to the end of the plan."""
    settings = TrainSettings(**config)
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    model = load_model(settings.initial, str(ray.train.torch.get_device()))
    freeze(model.net, settings)
    optimiser = optimiser_of(model.net, settings)
    position = Position()
    if checkpoint := ray.train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            position = load_state(Path(folder), model.net, optimiser)
    legs = plan(settings, world_size)
    log = MetricsFile(settings.metrics, position.step) if rank == 0 else None
    towers = parallel(Towers(model, settings.feature_dropout), world_size)
    for index in range(position.leg, len(legs)):
        position = _run_leg(index, legs, rank, position, towers, optimiser, model, settings, log)
        if log:
            log.save()
        _report(model.net, optimiser, position, rank)


def plan(settings: TrainSettings, world_size: int) -> list[Leg]:
    """The legs of this run; the same on every worker and on the driver."""
    return plan_legs(
        list_row_groups(settings.shards),
        settings.epochs,
        settings.steps_per_leg,
        world_size,
        settings.batch_size // world_size,
        settings.seed,
    )


def parallel(towers: Towers, world_size: int) -> nn.Module:
    """The towers, their gradients averaged over the workers. A frozen trunk keeps its batch statistics."""
    towers.train()
    trunk: Any = getattr(towers.net.visual, "trunk", None)
    if trunk is not None and not any(parameter.requires_grad for parameter in trunk.parameters()):
        trunk.eval()
    return DistributedDataParallel(towers) if world_size > 1 else towers


def _run_leg(
    index: int,
    legs: list[Leg],
    rank: int,
    position: Position,
    towers: nn.Module,
    optimiser: torch.optim.Optimizer,
    model: Model,
    settings: TrainSettings,
    log: "MetricsFile | None",
) -> Position:
    leg, num_steps = legs[index], sum(leg.num_steps for leg in legs)
    # What a leg draws (dropout) does not depend on the legs that this process ran before.
    torch.manual_seed(stable_id(str(settings.seed), str(index), str(rank)))
    batch_size = settings.batch_size // len(leg.visits)
    preparation = preparation_of(model, settings)
    batches = stream(leg.visits[rank], preparation, batch_size, settings.shuffle_rows, settings.readers)
    step, waited = position.step, time.perf_counter()
    for _ in range(leg.num_steps):
        batch = next(batches)
        started = time.perf_counter()
        num_broken = int(gather(batch.pop("broken").to(model.device)).sum())
        if settings.text_draw == "step":
            batch["tokens"] = batch["tokens"][:, draw_step_text_type(settings.text_types, step)]
        share = set_learning_rate(optimiser, step, num_steps, settings.warmup_steps)
        figures = take_step(towers, optimiser, batch, settings.objective)
        step += 1
        ended = time.perf_counter()
        if log:
            rate = settings.batch_size / (ended - waited)
            figures |= {"lr_share": share, "data_s": started - waited, "images_per_s": rate, "broken": num_broken}
            log.add(step, num_steps, leg=index, **figures)
        waited = ended
    return Position(index + 1, step)


def preparation_of(model: Model, settings: TrainSettings) -> Preparation:
    """How rows become what this model reads."""
    return Preparation(
        model.ref, model.side, model.resize_mode, settings.text_types, settings.seed,
        template=settings.template, text_draw=settings.text_draw,
    )  # fmt: skip


def _report(net: nn.Module, optimiser: torch.optim.Optimizer, position: Position, rank: int) -> None:
    metrics = {"leg": position.leg, "step": position.step}
    if rank:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        save_state(Path(folder), net, optimiser, position)
        name = f"leg-{position.leg:05d}"
        ray.train.report(metrics, ray.train.Checkpoint.from_directory(folder), checkpoint_dir_name=name)


def _step(line: str) -> float:
    """The step of a line; of half a line, which a kill can leave, one past them all."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return math.inf


class MetricsFile:
    """One JSON line a step. Lines past the checkpoint that a run goes on from are dropped: they will come again.

    On disk each line is there at once. An object on S3 is only ever written anew: every half a minute, and by `save`.
    """

    def __init__(self, place: str, from_step: int) -> None:
        self._place = place
        lines = read_bytes(place).decode().splitlines() if exists(place) else []
        self._lines = [f"{line}\n" for line in lines if _step(line) <= from_step]
        self._saved = time.monotonic()
        write_text(place, "".join(self._lines))

    def add(self, step: int, num_steps: int, **figures: float) -> None:
        """Append one step's figures."""
        rounded = {name: round(value, 5) for name, value in figures.items()}
        line = json.dumps({"step": step, "num_steps": num_steps, **rounded}) + "\n"
        if not is_remote(self._place):
            with open(self._place, "a") as file:
                file.write(line)
            return
        self._lines.append(line)
        if time.monotonic() - self._saved > _SAVE_S:
            self.save()

    def save(self) -> None:
        """See to it that all lines are there."""
        if is_remote(self._place):
            write_text(self._place, "".join(self._lines))
            self._saved = time.monotonic()

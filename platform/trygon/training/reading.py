"""What a run reads: its plan, and the batches that a worker takes of it."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from trygon.data.ingest import Preparation, stream
from trygon.data.mixing import Samples, mixed_batches
from trygon.data.plan import Leg, Plan, shares
from trygon.data.row_groups import kept_row_groups
from trygon.errors import UserError
from trygon.training.settings import TrainSettings

if TYPE_CHECKING:
    from trygon.models.model import Model


def plan_of(settings: TrainSettings) -> Plan:
    """What this run reads; the same on every worker and on the driver."""
    groups = kept_row_groups(settings.row_groups, settings.shards)
    return Plan.of(groups, settings.epochs, settings.steps_per_leg, settings.batch_size, settings.seed)


def replay_plan(plan: Plan, settings: TrainSettings) -> Plan:
    """What is replayed in the steps of a plan: the pairs of general pictures and texts, again and again. `UserError`
    where there are none."""
    groups = kept_row_groups(settings.replay_row_groups, settings.replay)
    num_pairs = sum(group.num_rows for group in groups)
    if not num_pairs:
        raise UserError("--replay: its files hold no pictures")
    epochs = -(-plan.num_steps * settings.replay_batch_size // num_pairs)
    return Plan.of(groups, epochs, settings.steps_per_leg, settings.replay_batch_size, settings.seed)


def preparation_of(model: "Model", settings: TrainSettings) -> Preparation:
    """How rows become what this model reads."""
    from trygon.models.model import load_tokenizer

    return Preparation(
        partial(load_tokenizer, model.ref), model.side, model.resize_mode, settings.text_types, settings.seed,
        crop_ratio=settings.crop_ratio, mirror=settings.mirror,
        template=settings.template, text_draw=settings.text_draw, sources=settings.sources,
    )  # fmt: skip


def batches_of(
    plan: Plan, settings: TrainSettings, preparation: Preparation, first_leg: int, rank: int, world_size: int
) -> Iterator[dict[str, Tensor]]:
    """A worker's batches from a leg to the end of the plan; what is replayed beside the taxa as `replay_…`."""
    legs = [plan.leg(index) for index in range(first_leg, plan.num_legs)]
    batches = _mixed(plan, legs, settings, preparation, rank, world_size)
    if not settings.replay:
        yield from batches
        return
    pairs = replay_plan(plan, settings)
    plain = replace(preparation, text_draw="sample", sources=None)
    for batch, replayed in zip(batches, _mixed(pairs, legs, settings, plain, rank, world_size), strict=True):
        yield batch | {f"replay_{name}": column for name, column in replayed.items() if name != "clades"}


def _mixed(
    plan: Plan, legs: Sequence[Leg], settings: TrainSettings, preparation: Preparation, rank: int, world_size: int
) -> Iterator[dict[str, Tensor]]:
    visits = (visit for leg in legs for visit in plan.visits(leg, rank, world_size))
    samples = Samples(stream(visits, preparation, settings.readers))
    for leg in legs:
        rng = random.Random(f"{settings.seed}/{leg.index}/{rank}/mix")
        size = shares(plan.batch_size, world_size)[rank]
        yield from mixed_batches(samples, leg.num_steps, size, settings.shuffle_rows, rng)

"""Which worker reads what, when: a pure function of the seed, so that a run that was stopped goes on where it was.

An epoch visits every row group once in an order of its own. The epochs, one after the other, are cut into legs; a
checkpoint ends each leg. Within a leg each worker streams its own list of row groups, and all take the same number of
steps.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, order=True)
class RowGroup:
    """A part of a shard that is read at once."""

    path: str
    index: int
    num_rows: int


@dataclass(frozen=True)
class Visit:
    """One reading of a row group; the epoch decides its augmentation and its text types."""

    row_group: RowGroup
    epoch: int


@dataclass(frozen=True)
class Leg:
    """What the workers do between two checkpoints: `visits[rank]` in order, `num_steps` batches each."""

    visits: tuple[tuple[Visit, ...], ...]
    num_steps: int


def plan_legs(
    row_groups: Sequence[RowGroup], epochs: int, steps_per_leg: int, world_size: int, batch_size: int, seed: int
) -> list[Leg]:
    """All legs of a run, of about `steps_per_leg` steps; `batch_size` is one worker's.

    Rows that do not fill a leg's last batch are left for the next epoch's order to bring elsewhere.
    """
    visits = [Visit(row_group, epoch) for epoch in range(epochs) for row_group in _order(row_groups, epoch, seed)]
    num_steps = sum(visit.row_group.num_rows for visit in visits) // (batch_size * world_size)
    # Every worker needs a row group in every leg.
    count = max(1, min(round(num_steps / steps_per_leg), len(visits) // world_size))
    cuts = [len(visits) * index // count for index in range(count + 1)]
    return [_leg(visits[first:last], world_size, batch_size) for first, last in pairwise(cuts)]


def _order(row_groups: Sequence[RowGroup], epoch: int, seed: int) -> list[RowGroup]:
    order = sorted(row_groups)
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order


def _leg(visits: Sequence[Visit], world_size: int, batch_size: int) -> Leg:
    """Each visit to whoever has least to do: row groups differ in size, and the slowest sets the number of steps."""
    lists: list[list[Visit]] = [[] for _ in range(world_size)]
    rows = [0] * world_size
    for visit in visits:
        rank = rows.index(min(rows))
        lists[rank].append(visit)
        rows[rank] += visit.row_group.num_rows
    return Leg(tuple(map(tuple, lists)), min(rows) // batch_size)

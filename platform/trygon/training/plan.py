"""Which worker reads what, when: a pure function of the seed, so that a run that was stopped goes on where it was.

An epoch visits every row group once in an order of its own. The run is cut into legs of whole epochs; a checkpoint
ends each leg. Within a leg each worker streams its own list of row groups, and all take the same number of
steps.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass


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
    row_groups: Sequence[RowGroup], epochs: int, epochs_per_leg: int, world_size: int, batch_size: int, seed: int
) -> list[Leg]:
    """All legs of a run; `batch_size` is one worker's. Rows that do not fill a leg's last batch are left for the next
    epoch's order to bring elsewhere."""
    legs = []
    for first in range(0, epochs, epochs_per_leg):
        visits: list[list[Visit]] = [[] for _ in range(world_size)]
        for epoch in range(first, min(first + epochs_per_leg, epochs)):
            order = sorted(row_groups)
            random.Random(f"{seed}/{epoch}").shuffle(order)
            for row_group in order:
                # To whoever has least to do: row groups differ in size, and the slowest sets the number of steps.
                least = min(visits, key=lambda mine: sum(visit.row_group.num_rows for visit in mine))
                least.append(Visit(row_group, epoch))
        rows = [sum(visit.row_group.num_rows for visit in mine) for mine in visits]
        legs.append(Leg(tuple(map(tuple, visits)), min(rows) // batch_size))
    return legs

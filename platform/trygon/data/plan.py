"""Which worker reads what, when: a pure function of the seed, so that a run that was stopped goes on where it was.

An epoch visits every row group once, in an order of its own. The epochs one after the other are one long row of
samples, and step k takes the samples from k * batch_size on. Steps are gathered into legs; within a leg each worker
reads a run of samples of its own. Which samples a leg holds does not depend on the number of workers: a run can go on
with fewer or more of them, and each sample still comes once an epoch. Shares of a step are as even as they can be.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, order=True)
class RowGroup:
    """A part of a shard that is read at once."""

    path: str
    index: int
    num_rows: int


@dataclass(frozen=True)
class Visit:
    """One reading of rows of a row group, `first` up to `last`; the epoch decides augmentation and text types."""

    row_group: RowGroup
    epoch: int
    first: int
    last: int


def shares(total: int, world_size: int) -> list[int]:
    """Samples of each worker: where they cannot be even, the first workers have one more."""
    return [total // world_size + (rank < total % world_size) for rank in range(world_size)]


@dataclass(frozen=True)
class Leg:
    """Steps that go together: what lies in them is mixed, and a checkpoint can follow them."""

    index: int
    first_step: int
    num_steps: int


@dataclass(frozen=True)
class Plan:
    """All of a run. `batch_size` is that of all workers together."""

    row_groups: tuple[RowGroup, ...]
    epochs: int
    steps_per_leg: int
    batch_size: int
    seed: int

    @staticmethod
    def of(row_groups: Sequence[RowGroup], epochs: int, steps_per_leg: int, batch_size: int, seed: int) -> "Plan":
        """The plan of row groups in whatever order."""
        return Plan(tuple(sorted(row_groups)), epochs, steps_per_leg, batch_size, seed)

    @cached_property
    def num_rows(self) -> int:
        """Samples in an epoch."""
        return sum(group.num_rows for group in self.row_groups)

    @cached_property
    def num_steps(self) -> int:
        """Steps in all; the samples that do not fill the very last one are left out."""
        return self.num_rows * self.epochs // self.batch_size

    @property
    def num_legs(self) -> int:
        return -(-self.num_steps // self.steps_per_leg)

    def leg(self, index: int) -> Leg:
        """The leg of an index."""
        first = index * self.steps_per_leg
        return Leg(index, first, min(self.steps_per_leg, self.num_steps - first))

    def visits(self, leg: Leg, rank: int, world_size: int) -> Iterator[Visit]:
        """What a worker reads in a leg, in order: rows for exactly the leg's steps."""
        of_each = shares(self.batch_size, world_size)
        start = leg.first_step * self.batch_size + leg.num_steps * sum(of_each[:rank])
        return self._rows(start, start + leg.num_steps * of_each[rank])

    def _rows(self, start: int, stop: int) -> Iterator[Visit]:
        while start < stop:
            epoch, offset = divmod(start, self.num_rows)
            order, ends = self._order(epoch)
            place = int(np.searchsorted(ends, offset, side="right"))
            while start < stop and place < len(order):
                group = self.row_groups[order[place]]
                first = start - epoch * self.num_rows - (int(ends[place]) - group.num_rows)
                last = min(group.num_rows, first + stop - start)
                yield Visit(group, epoch, first, last)
                start, place = start + last - first, place + 1

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of the row groups in an epoch, and how many rows there are up to the end of each."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.row_groups))
        return order, np.cumsum(self._sizes[order])

    @cached_property
    def _sizes(self) -> np.ndarray:
        return np.asarray([group.num_rows for group in self.row_groups])

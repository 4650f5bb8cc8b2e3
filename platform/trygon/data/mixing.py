"""Prepared samples to mixed batches of tensors: the same batches, in whatever pieces the samples come."""

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from trygon import threads
from trygon.errors import TrygonError

T = TypeVar("T")
Piece = Mapping[str, np.ndarray]
"""Columns of some samples that came together."""


class Samples:
    """Samples that come in pieces, taken in numbers of one's own."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = iter(pieces)
        self._piece: Piece = {}
        self._next = self._end = 0

    def take(self, count: int) -> Iterator[tuple[Piece, int]]:
        """The next samples, each as its piece and its row there."""
        while count:
            if self._next == self._end:
                self._piece = next(self._pieces, {})
                assert self._piece, "a plan visits as many samples as its steps take"
                self._next, self._end = 0, len(next(iter(self._piece.values())))
                continue
            yield self._piece, self._next
            self._next += 1
            count -= 1


def mixed_batches(
    samples: Samples, num_steps: int, batch_size: int, shuffle_rows: int, rng: random.Random
) -> Iterator[dict[str, Tensor]]:
    """The next `num_steps` batches. Each is drawn from `shuffle_rows` samples more than it needs, as far as these
    steps reach; no sample moves into other steps."""
    waiting: list[tuple[Piece, int]] = []
    left = num_steps * batch_size
    for _ in range(num_steps):
        wanted = min(left, batch_size + shuffle_rows - len(waiting))
        waiting += samples.take(wanted)
        left -= wanted
        if shuffle_rows:
            for place in range(batch_size):  # the drawn ones come to the front
                other = rng.randrange(place, len(waiting))
                waiting[place], waiting[other] = waiting[other], waiting[place]
        yield _stacked(waiting[:batch_size])
        del waiting[:batch_size]


def _stacked(rows: list[tuple[Piece, int]]) -> dict[str, Tensor]:
    first, _ = rows[0]
    batch = {name: np.empty((len(rows), *column.shape[1:]), column.dtype) for name, column in first.items()}
    for place, (piece, row) in enumerate(rows):
        for name, column in batch.items():
            column[place] = piece[name][row]
    return {name: torch.from_numpy(column) for name, column in batch.items()}


def ahead(items: Iterable[T], patience_s: float, depth: int = 2, first_patience_s: float | None = None) -> Iterator[T]:
    """The same items, the next `depth` of them made by another thread meanwhile. `TrygonError` where none comes for
    `patience_s`, or for `first_patience_s` before the first."""
    try:
        yield from threads.ahead(items, patience_s, depth, first_patience_s)
    except threads.StalledError as error:
        raise TrygonError(f"no samples came for {error.waited_s:.0f} s: a disk or a reader hangs") from None

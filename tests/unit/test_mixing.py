"""Batches from samples that come in pieces: each once, the same for any pieces, and the next ones made meanwhile."""

import random
import threading
from collections.abc import Iterator
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.data.mixing import Samples, ahead, mixed_batches
from trygon.errors import TrygonError


def _pieces(sizes: list[int]) -> Iterator[dict[str, np.ndarray]]:
    start = 0
    for size in sizes:
        ids = np.arange(start, start + size)
        yield {"id": ids, "image": np.repeat(ids.astype(np.uint8), 6).reshape(size, 2, 3)}
        start += size


def _ids(sizes: list[int], steps: list[int], batch_size: int, shuffle_rows: int) -> list[list[int]]:
    samples = Samples(_pieces(sizes))
    batches = [
        batch
        for leg, num_steps in enumerate(steps)
        for batch in mixed_batches(samples, num_steps, batch_size, shuffle_rows, random.Random(leg))
    ]
    for batch in batches:
        assert (batch["image"][:, 1, 2] == batch["id"] % 256).all()
    return [batch["id"].tolist() for batch in batches]


@given(
    steps=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    batch_size=st.integers(1, 7),
    shuffle_rows=st.integers(0, 20),
    cuts=st.lists(st.integers(1, 30), max_size=12),
)
def test_every_sample_is_in_one_batch_of_its_own_leg(
    steps: list[int], batch_size: int, shuffle_rows: int, cuts: list[int]
) -> None:
    total = sum(steps) * batch_size
    pieces = [size for size, start in zip(cuts, np.cumsum([0, *cuts]), strict=False) if start + size < total]
    whole = _ids([total], steps, batch_size, shuffle_rows)
    assert _ids([*pieces, total - sum(pieces)], steps, batch_size, shuffle_rows) == whole
    start = 0
    for num_steps in steps:
        mine, whole = whole[:num_steps], whole[num_steps:]
        assert sorted(chain.from_iterable(mine)) == list(range(start, start + num_steps * batch_size))
        start += num_steps * batch_size


def test_neighbours_are_mixed() -> None:
    (first, *_) = _ids([1000], [10], 100, 500)
    assert first != sorted(first)
    assert max(first) > 300
    assert _ids([1000], [10], 100, 0)[0] == list(range(100))


def test_samples_that_do_not_come_are_told_as_what_hangs() -> None:
    never = iter(threading.Event().wait, True)
    with pytest.raises(TrygonError, match="no samples came for 0 s: a disk or a reader hangs"):
        next(ahead(never, patience_s=0.1))

"""Batches on their way to what computes: the same ones, on its device, and not waited for as long as workers wait."""

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from trygon.errors import TrygonError
from trygon.training.staging import patience_for, staged

_CPU = torch.device("cpu")


def _batches(count: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.randint(0, 255, (64, 3, 64, 64), dtype=torch.uint8, generator=generator),
            "tokens": torch.randint(0, 9, (64, 8), generator=generator),
            "broken": torch.zeros(64, dtype=torch.bool),
        }
        for _ in range(count)
    ]


def test_on_a_cpu_batches_are_those_that_were_read() -> None:
    batches = _batches(3)
    taken = list(staged(iter(batches), _CPU, 60))
    assert all(one is other for one, other in zip(taken, batches, strict=True))


def test_who_has_no_samples_says_so_before_the_others_give_up_on_it() -> None:
    assert patience_for(600) == 480
    assert patience_for(10) == 30  # readers that start anew take seconds, on all workers at once


def test_samples_that_do_not_come_are_waited_for_longer_where_readers_start() -> None:
    hangs = threading.Event()

    def read() -> Iterator[dict[str, Tensor]]:
        hangs.wait(2)
        yield {}
        hangs.wait(60)

    taken = staged(read(), _CPU, 1)
    assert next(taken) == {}
    with pytest.raises(TrygonError, match="no samples came for 1 s: a disk or a reader hangs"):
        next(taken)
    hangs.set()


@pytest.mark.requires_gpu
def test_batches_come_to_a_gpu_as_they_were_read_while_it_computes() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    busy = torch.randn(2048, 2048, device=device)
    batches, found = _batches(30), []
    for batch in staged(iter(batches), device, 60):
        assert {column.device for column in batch.values()} == {device}
        for _ in range(5):
            busy = (busy @ busy).tanh()
        found.append({name: column.long().cumsum(0).sum() for name, column in batch.items()})
        del batch  # its memory may be used again, and not before what was asked of it is done
    for batch, sums in zip(batches, found, strict=True):
        assert {name: it.item() for name, it in sums.items()} == {
            name: column.long().cumsum(0).sum().item() for name, column in batch.items()
        }


@pytest.mark.requires_gpu
def test_an_error_of_the_reader_comes_through_a_gpu() -> None:
    def read() -> Iterator[dict[str, Tensor]]:
        yield from _batches(1)
        raise TrygonError("a shard is cut")

    taken = staged(read(), torch.device("cuda", torch.cuda.current_device()), 60)
    next(taken)
    with pytest.raises(TrygonError, match="a shard is cut"):
        next(taken)

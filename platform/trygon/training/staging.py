"""A worker's batches on their way to what computes: a thread reads them ahead, and brings them to a GPU meanwhile.

Knows nothing of what is in them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trygon.data.mixing import ahead
from trygon.training.settings import FIRST_STEP_S

Batch = dict[str, Tensor]

_RESTART_S = 30.0
"""Readers may take that long to start anew, every few thousand row groups."""
_PATIENCE = 0.8
"""Share of the time that workers wait for each other: who has no samples says so before the others give up on it."""
_GPU_DEPTH = 1
"""A GPU holds three batches at most: the one that is computed with, one that waits, and one that comes."""


def patience_for(collective_timeout_s: float) -> float:
    """How long a worker waits for samples, where the others wait for it so long."""
    return max(_RESTART_S, _PATIENCE * collective_timeout_s)


def staged(batches: Iterable[Batch], device: torch.device, patience_s: float) -> Iterator[Batch]:
    """The batches, the next ones made meanwhile; on a GPU's device all columns lie there. `TrygonError` where none
    comes for `patience_s`, or longer for the first one."""
    first_s = max(patience_for(FIRST_STEP_S), patience_s)
    if device.type != "cuda":
        return ahead(batches, patience_s, first_patience_s=first_s)
    return _received(ahead(_sent(batches, device), patience_s, _GPU_DEPTH, first_s), device)


@dataclass(frozen=True)
class _Sent:
    """A batch that is being copied to a GPU, and when it is there."""

    batch: Batch
    arrival: torch.cuda.Event


def _sent(batches: Iterable[Batch], device: torch.device) -> Iterator[_Sent]:
    """Start to copy each beside what the GPU computes: from memory that stays in its place, on a stream of its own."""
    stream = torch.cuda.Stream(device)
    for batch in batches:
        with torch.cuda.stream(stream):  # and on its device: this is another thread than the one that chose it
            there = {name: column.pin_memory().to(device, non_blocking=True) for name, column in batch.items()}
            arrival = torch.cuda.Event()
            arrival.record(stream)
        yield _Sent(there, arrival)


def _received(sent: Iterable[_Sent], device: torch.device) -> Iterator[Batch]:
    """The batches, ready for what is computed with them next."""
    for one in sent:
        stream = torch.cuda.current_stream(device)
        stream.wait_event(one.arrival)
        for column in one.batch.values():
            column.record_stream(stream)  # it was made on the other stream, which may not use its memory again before
        yield one.batch

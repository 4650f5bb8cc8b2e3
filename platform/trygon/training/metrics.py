"""What training tells of itself: a line a step, and how fast and how hard the machine works."""

import json
import math
import re
import time
from collections import deque
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from trygon.errors import TrygonError
from trygon.storage import exists, is_remote, read_bytes, write_text
from trygon.training.learner import Learner
from trygon.training.parallel import batch_norms

_SAVE_S, _RETRY_S = 30.0, 300.0
_FLOP_SAMPLES = 2
_PACE_STEPS = 100
"""Of that many steps the mean says how long the others will take: a leg begins with waiting."""
_PEAK_TFLOPS = {
    "B200": 2250, "H200": 989, "GH200": 989, "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "A100": 312, "L40S": 362,
    "L40": 181, "A10G": 70, "A10": 125, "L4": 121, "T4": 65, "V100 PCIe": 112, "V100": 125,
}  # fmt: skip
"""Dense half precision, as the makers' data sheets say, by words of the card's name. What says more comes first."""


class Figures:
    """The times of steps, and what follows from them. Seconds; the longest wait of a worker, all workers' images."""

    def __init__(self, device: torch.device, batch_size: int, precision: str) -> None:
        self.flops_per_sample: float | None = None
        self._batch_size = batch_size
        self.num_workers = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        self._peak = peak_tflops(name, precision)
        self._taken: deque[float] = deque(maxlen=_PACE_STEPS)
        self._has_begun = False
        self._begun = time.perf_counter()

    def begin(self) -> None:
        """A step begins with waiting for its batch."""
        self._begun = time.perf_counter()

    def waited_s(self) -> float:
        """How long this worker waited, where its batch is there now."""
        return time.perf_counter() - self._begun

    def end(self, data_s: float, steps_left: int) -> dict[str, float]:
        """The step is done; `data_s` is how long the last of all workers waited for its batch, and the others for
        it."""
        taken = time.perf_counter() - self._begun
        data_s = min(data_s, taken)
        figures = {"data_s": data_s, "step_s": taken - data_s}
        figures["images_per_s"] = self._batch_size / taken
        figures["images_per_s_worker"] = figures["images_per_s"] / self.num_workers
        self._taken.append(taken)
        figures["left_s"] = steps_left * sum(self._taken) / len(self._taken)
        if not self._has_begun:  # the first step takes longer than any other
            self._taken.clear()
            self._has_begun = True
        if self.flops_per_sample:
            figures["tflops"] = self.flops_per_sample * figures["images_per_s"] / 1e12
            if self._peak:
                figures["mfu"] = figures["tflops"] / self._peak / self.num_workers
        return figures


def peak_tflops(name: str, precision: str) -> float | None:
    """What a card can do at most; None where its data sheet is not known here, and in single precision, for which the
    figure is another one."""
    words = set(re.findall(r"\w+", name.casefold()))
    known = (float(peak) for card, peak in _PEAK_TFLOPS.items() if words.issuperset(card.casefold().split()))
    return None if precision == "fp32" else next(known, None)


def flops_per_sample(learner: Learner, batch: dict[str, Tensor]) -> float:
    """Floating-point operations that training one sample takes: those of a forward pass, and for what learns twice as
    many on the way back. An upper bound where towers are frozen or captions come again in a batch. All workers call it
    alike: towers in shards are brought together for it."""
    some = {name: column[:_FLOP_SAMPLES] for name, column in batch.items()}
    if some["tokens"].ndim == 3:
        some["tokens"] = some["tokens"][:, 0]
    # Neither statistics of batches nor numbers that are drawn may show that it was counted, and compiled code does not
    # say what it does.
    learning = [it for it in batch_norms(learner.towers) if it.training]
    eager = torch.compiler.set_stance("force_eager")
    with torch.random.fork_rng(), torch.no_grad(), eager, FlopCounterMode(display=False) as counter:
        for it in learning:
            it.eval()
        learner.towers(some)
        for it in learning:
            it.train()
    return 3 * counter.get_total_flops() / len(some["tokens"])


def _step(line: str) -> float:
    """The step of a line; of half a line, which a kill can leave, one past them all."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return math.inf


class MetricsFile:
    """One JSON line a step. Lines past the checkpoint that a run goes on from are dropped: they will come again.

    On disk each line is there at once. An object on S3 is only ever written anew: every half a minute, more seldom as
    that takes longer, and by `save`. What cannot be written now is kept, and comes later: it must not end training.
    """

    def __init__(self, place: str, from_step: int) -> None:
        self._place = place
        lines = read_bytes(place).decode().splitlines() if exists(place) else []
        self._lines = [f"{line}\n" for line in lines if _step(line) <= from_step]
        self._due, self._size = 0.0, sum(len(line.encode()) for line in self._lines)
        self._write_anew()
        if not is_remote(place):
            self._due = 0.0
            self._lines.clear()  # from here on those that are not there yet

    def add(self, step: int, num_steps: int, **figures: Any) -> None:
        """Append one step's figures."""
        # Of a step in half precision that overflowed, the gradient is no number, and JSON has none for it.
        rounded = {name: round(value, 5) for name, value in figures.items() if math.isfinite(value)}
        fixed = {"step": step, "num_steps": num_steps, "time": round(time.time(), 3)}
        self._lines.append(json.dumps(fixed | rounded) + "\n")
        if time.monotonic() > self._due:
            self.try_to_save()

    def try_to_save(self) -> None:
        """Save, or leave that for later where the storage does not take it."""
        with suppress(OSError, TrygonError):
            self.save()

    def save(self) -> None:
        """See to it that all lines are there."""
        if is_remote(self._place):
            self._write_anew()
        elif self._lines:
            self._append()

    def _write_anew(self) -> None:
        began, wait = time.monotonic(), _RETRY_S  # to find a storage away may take minutes, in which no step is made
        try:
            write_text(self._place, "".join(self._lines))
            wait = max(_SAVE_S, 100 * (time.monotonic() - began))
        finally:
            self._due = time.monotonic() + wait

    def _append(self) -> None:
        data = "".join(self._lines).encode()
        with open(self._place, "r+b") as file:
            file.truncate(self._size)  # a full disk may have taken half a line
            file.seek(self._size)
            file.write(data)
        self._size += len(data)
        self._lines.clear()

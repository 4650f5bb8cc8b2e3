"""What was measured of a run's checkpoints: a JSON line each in `validation.jsonl`. Knows nothing of how."""

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from trygon.errors import TrygonError
from trygon.storage import exists, read_bytes, write_text


@dataclass(frozen=True)
class Measurements:
    """The lines at a place, by step. One checkpoint is measured at a time, so that no two write at once."""

    place: str

    def add(self, step: int, told: dict[str, Any]) -> None:
        """The figures of a step's checkpoint, or its `problem`. Those of later steps are dropped: a run that went back
        comes to them again."""
        earlier = [line for line in self.lines() if line["step"] < step]
        write_text(self.place, "".join(f"{json.dumps(line)}\n" for line in [*earlier, {"step": step} | told]))

    def lines(self) -> list[dict[str, Any]]:
        """All of them."""
        return [json.loads(line) for line in read_bytes(self.place).splitlines()] if exists(self.place) else []

    def last(self) -> dict[str, Any]:
        """The last line with figures; empty where there is none."""
        return next((line for line in reversed(self.lines()) if "problem" not in line), {})


class Told:
    """The lines of measurements that people were not told of yet."""

    def __init__(self, measurements: Measurements) -> None:
        self._measurements = measurements
        self._step = max((line["step"] for line in measurements.lines()), default=0)

    def new(self) -> list[dict[str, Any]]:
        """Those of later steps than before. None where S3 does not answer."""
        lines: list[dict[str, Any]] = []
        with suppress(OSError, TrygonError):
            lines = [line for line in self._measurements.lines() if line["step"] > self._step]
        self._step = max((line["step"] for line in lines), default=self._step)
        return lines


def described(line: dict[str, Any]) -> str:
    """A line in words."""
    if "problem" in line:
        return f"the checkpoint of step {line['step']} was not measured: {line['problem']}; training goes on"
    shares = ", ".join(f"{rank} {line[f'{rank}/top1']:.1%}" for rank in ("species", "genus", "family", "class"))
    return f"step {line['step']}: of {line['species/n']:.0f} validation pictures right at the first guess: {shares}"

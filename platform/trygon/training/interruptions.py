"""What interrupted a run, for people: one JSON line a time that workers failed. Training does not read it."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress

from ray.train import UserCallback

from trygon.errors import TrygonError, origin
from trygon.storage import exists, read_bytes, write_text


class Interruptions(UserCallback):
    """The file of them. Ray Train's controller appends to it; the driver reads what is new since it was made."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._seen = len(self._lines())

    def after_exception(self, run_context: object, worker_exceptions: Mapping[int, Exception]) -> None:
        """Ray Train's call, where it runs the controller."""
        entry = {
            "time": round(time.time(), 3),
            "ranks": sorted(worker_exceptions),
            "reason": reason(worker_exceptions),
        }
        with suppress(OSError, TrygonError):  # what cannot be told must not end training
            write_text(self._place, "".join(f"{line}\n" for line in [*self._lines(), json.dumps(entry)]))

    def new(self) -> list[str]:
        """The reasons of those that came since the last call. None where S3 does not answer."""
        lines: list[str] = []
        with suppress(OSError, TrygonError):
            lines = self._lines()[self._seen :]
        self._seen += len(lines)
        return [json.loads(line)["reason"] for line in lines]

    def _lines(self) -> list[str]:
        return read_bytes(self._place).decode().splitlines() if exists(self._place) else []


def reason(failures: Mapping[int, Exception]) -> str:
    """Why workers failed, by rank, in one line: our own error where one raised it, else what the first one says."""
    causes = [origin(failures[rank]) for rank in sorted(failures)]
    ours = next((cause for cause in causes if isinstance(cause, TrygonError)), None)
    if ours:
        return str(ours)
    told = (str(causes[0]).strip().splitlines() or [type(causes[0]).__name__])[-1]
    if any("timed out" in str(cause).lower() for cause in causes):
        return f"workers waited in vain for one that hangs, or whose machine is gone ({told})"
    return told

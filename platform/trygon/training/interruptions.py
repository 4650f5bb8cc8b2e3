"""What interrupted a run, for people: one JSON line a time that workers failed. Training does not read it."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from trygon.errors import TrygonError, is_permanent, origin
from trygon.storage import exists, read_bytes, write_text

_PEER_GONE = ("connection reset by peer", "connection closed by peer", "broken pipe")


class Interruptions:
    """The file of them. Who decides what follows adds to it; the driver reads what is new since it was made."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._seen = len(self._lines())

    def add(self, ranks: Sequence[int], why: str, goes_on: bool) -> None:
        """Append one: the workers that failed, why, and whether training goes on."""
        entry = {"time": round(time.time(), 3), "ranks": list(ranks), "reason": why, "goes_on": goes_on}
        with suppress(OSError, TrygonError):  # what cannot be told must not end training
            write_text(self._place, "".join(f"{line}\n" for line in [*self._lines(), json.dumps(entry)]))

    def new(self) -> list[str]:
        """Those that came since the last call, in words. None where S3 does not answer."""
        lines: list[str] = []
        with suppress(OSError, TrygonError):
            lines = self._lines()[self._seen :]
        self._seen += len(lines)
        entries = [json.loads(line) for line in lines]
        return [
            f"interrupted: {entry['reason']}; training goes on from the last checkpoint"
            if entry["goes_on"]
            else f"training ends: {entry['reason']}"
            for entry in entries
        ]

    def _lines(self) -> list[str]:
        return read_bytes(self._place).decode().splitlines() if exists(self._place) else []


def cause_of(failures: Mapping[int, Exception]) -> BaseException:
    """Of what workers failed by, what says most: what another try would meet again, else an error of our own, else
    that of the first rank."""
    causes = [origin(failures[rank]) for rank in sorted(failures)]
    for says_most in (is_permanent, lambda cause: isinstance(cause, TrygonError)):
        if found := next(filter(says_most, causes), None):
            return found
    return causes[0]


def reason(failures: Mapping[int, Exception]) -> str:
    """Why workers failed, by rank, in one line."""
    cause = cause_of(failures)
    if isinstance(cause, TrygonError):
        return str(cause)
    told = str(cause).strip().splitlines() or [type(cause).__name__]
    if any("timed out" in str(origin(it)).lower() for it in failures.values()):
        late = next((line for line in told if "timed out" in line.lower()), told[-1])
        return f"workers waited in vain for one that hangs, or whose machine is gone ({late})"
    if any(sign in told[-1].lower() for sign in _PEER_GONE):
        # gloo begins with a place in its own source and ends with advice.
        what = re.sub(r"^\[[^\]]*\] ", "", told[-1]).partition(". ")[0]
        return f"a worker that others talked to has ended, or its machine is gone ({what})"
    return told[-1]

"""What interrupted a run, for people: one JSON line a time that workers failed. Training does not read it."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from trygon.errors import TrygonError, is_permanent, origin
from trygon.storage import exists, read_bytes, write_text

_PEER_GONE = ("connection reset by peer", "connection closed by peer", "broken pipe")
_LATE = ("timed out", "timing out")
_UNKNOWN = "Worker unexpectedly exits with a connection error"
"""What Ray says of a process that ended without a word, before it guesses."""
_MOST_RUNS = 6
"""Of ranks that follow each other, that one line may name."""


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
    texts = {rank: str(origin(error)) for rank, error in sorted(failures.items())}
    waited = [rank for rank, text in texts.items() if _is_late(text)]
    if waited:
        late = next(line for line in texts[waited[0]].strip().splitlines() if _is_late(line))
        return f"{named(waited)} waited in vain for one that hangs, or whose machine is gone ({late})"
    if silent := [rank for rank, text in texts.items() if _UNKNOWN in text]:
        return (
            f"{named(silent)} ended without a word: killed, out of memory or, on GPUs, ended by NCCL as they waited "
            "in vain for one that hangs (if the last step in metrics.jsonl is --collective-timeout-s old)"
        )
    if any(sign in told[-1].lower() for sign in _PEER_GONE):
        # gloo begins with a place in its own source and ends with advice.
        what = re.sub(r"^\[[^\]]*\] ", "", told[-1]).partition(". ")[0]
        return f"a worker that others talked to has ended, or its machine is gone ({what})"
    return told[-1]


def named(ranks: Sequence[int]) -> str:
    """Workers by their ranks, in order: `worker 3`, `workers 0, 2 and 4 to 7`; their number where that is too long."""
    runs: list[list[int]] = []
    for rank in ranks:
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    if len(runs) > _MOST_RUNS:
        return f"{len(ranks)} workers"
    words = [
        word for run in runs for word in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(rank) for rank in run])
    ]
    *first, last = words
    return f"worker{'s' if len(ranks) > 1 else ''} {', '.join(first)}{' and ' if first else ''}{last}"


def _is_late(text: str) -> bool:
    return any(sign in text.lower() for sign in _LATE)

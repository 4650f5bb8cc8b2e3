"""What a run folder was made with, and what its sessions did: how much, how fast, and what had to be done again."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from trygon.errors import UserError
from trygon.lease import Hold
from trygon.storage import exists, is_remote, join, list_folder, read_json, write_json

BOUND, _FOLDER = "made-with.json", "sessions"
RUN = "run"
"""In that file: an id that a run folder shares only with those that were named anew from it."""

THRESHOLDS = "thresholds"
"""In that file: the least confidence of the boxes that were kept, by category."""

_EVERY_S = 5.0
_TOGETHER_S = 0.5
"""Images that are done within this time of the first one came in one block with it."""


def bind(
    folder: str | Path, makers: Mapping[str, str], find_thresholds: Callable[[], Mapping[str, float]] = dict
) -> None:
    """Tie a run folder to the digests of its model and detector: vectors of two models are not to be mixed.

    The thresholds of its boxes are asked for once, when it is begun.
    """
    if not is_remote(folder):
        Path(folder, "parts").mkdir(parents=True, exist_ok=True)
    place = join(folder, BOUND)
    if not exists(place):
        write_json(place, {**makers, RUN: uuid4().hex, THRESHOLDS: dict(find_thresholds())}, durable=True)
        return
    require_version(folder)
    known = read_json(place)
    for what, digest in makers.items():
        if known.get(what) != digest:
            raise UserError(f"{folder} holds a run with another {what}; give another --out, or remove it")


def require_version(folder: str | Path) -> None:
    """`UserError` for a run folder that an earlier version made, whose tables say less."""
    place = join(folder, BOUND)
    if exists(place) and THRESHOLDS not in read_json(place):
        raise UserError(f"{folder} was made by another version: label the archive again, with another --out")


def makers(folder: str | Path) -> dict[str, str]:
    """What `bind` tied a run folder to."""
    return read_json(join(folder, BOUND))


class Session:
    """What one command does to a run folder. Its file is written again and again: one that is killed leaves it, too.

    `num_images` came out of the pipeline, of which `num_waiting` were not committed when it was written last.
    """

    def __init__(self, folder: str | Path, hold: Hold) -> None:
        self._hold = hold
        number = len(list_folder(join(folder, _FOLDER), suffix=".json"))
        self._place = join(folder, _FOLDER, f"{number:05d}.json")
        self._start = self._written = time.monotonic()
        self._first = self._last = 0.0
        self.num_images = self.num_bytes = self.num_waiting = self._num_steady = 0

    def add(self, num_bytes: int, num_waiting: int) -> None:
        """One more image is done, of that size; so many now wait for the rest of their parts."""
        now = time.monotonic()
        self._first = self._first or now
        self._last = now
        # What is done when the first results arrive took its time during the start: the rate is that of what follows.
        self._num_steady += now > self._first + _TOGETHER_S
        self.num_images += 1
        self.num_bytes += num_bytes
        self.num_waiting = num_waiting
        if now > self._written + _EVERY_S:
            self.write()

    def images_per_s(self, least_s: float) -> float | None:
        """The rate so far; None before it has gone on for `least_s` seconds after the first images."""
        seconds = self._last - self._first
        return self._num_steady / seconds if seconds >= least_s and 2 * self._num_steady >= self.num_images else None

    def write(self) -> None:
        """Note how far it came."""
        self._written = time.monotonic()
        entry = {
            "num_images": self.num_images,
            "num_bytes": self.num_bytes,
            "num_waiting": self.num_waiting,
            "seconds": round(self._written - self._start, 2),
            "num_steady": self._num_steady,
            "seconds_steady": round(self._last - self._first, 2) if self._num_steady else 0.0,
        }
        self._hold.check()
        write_json(self._place, entry, durable=True)


@contextmanager
def record(folder: str | Path, hold: Hold) -> Iterator[Session]:
    """A session that is noted when it ends, and on its way, while this process holds the folder."""
    session = Session(folder, hold)
    try:
        yield session
    finally:
        with suppress(Exception):  # what ended the session is what the user is to hear
            session.write()


def figures(folder: str | Path, price_per_hour: float | None = None) -> dict[str, Any]:
    """Over all sessions of a run: seconds with start-ups, images per second after them, bytes read, how many images
    sessions that ended early had done and not committed, and with a price what a million images cost."""
    entries = _entries(folder)
    if not entries:
        return {}
    totals = {name: sum(entry[name] for entry in entries) for name in entries[0]}
    # Where most images came with the first ones, the few after them tell no rate.
    steady = totals["seconds_steady"] if 2 * totals["num_steady"] >= totals["num_images"] else 0
    rate = round(totals["num_steady"] / steady, 2) if steady else None
    found = {
        "num_sessions": len(entries),
        "seconds": round(totals["seconds"], 1),
        "images_per_s": rate,
        "num_bytes_read": totals["num_bytes"],
        "num_redone": totals["num_waiting"],
    }
    return found | ({"cost_per_million": cost_per_million(price_per_hour, rate)} if price_per_hour and rate else {})


def num_uncommitted(folder: str | Path) -> int:
    """How many images the last session had done when it ended, and not committed."""
    return sum(entry["num_waiting"] for entry in _entries(folder)[-1:])


def _entries(folder: str | Path) -> list[dict[str, Any]]:
    return [read_json(file.place) for file in list_folder(join(folder, _FOLDER), suffix=".json")]


def cost_per_million(price_per_hour: float, images_per_s: float) -> float:
    """What a million images cost, in the currency of the price."""
    return round(price_per_hour / 3600 * 1e6 / images_per_s, 2)

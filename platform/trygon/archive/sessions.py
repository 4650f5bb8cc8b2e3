"""What a run folder was made with, and how long its sessions took."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trygon.errors import UserError
from trygon.storage import exists, is_remote, join, read_bytes, read_json, write_json, write_text

BOUND, _LOG = "made-with.json", "sessions.jsonl"
_TOGETHER_S = 0.5
"""Images that are done within this time of the first one came in one block with it."""


def bind(folder: str | Path, makers: dict[str, str]) -> None:
    """Tie a run folder to the digests of its model and detector: vectors of two models are not to be mixed."""
    if not is_remote(folder):
        Path(folder, "parts").mkdir(parents=True, exist_ok=True)
    place = join(folder, BOUND)
    if not exists(place):
        write_json(place, makers)
        return
    known = read_json(place)
    for what, digest in makers.items():
        if known.get(what) != digest:
            raise UserError(f"{folder} holds a run with another {what}; give another --out, or remove it")


def makers(folder: str | Path) -> dict[str, str]:
    """What `bind` tied a run folder to."""
    return read_json(join(folder, BOUND))


@contextmanager
def record(folder: str | Path) -> Iterator[Callable[[], None]]:
    """Note a session that came to its end. Call what it gives at every image that is done."""
    start, times = time.monotonic(), list[float]()
    yield lambda: times.append(time.monotonic())
    # What is done when the first results arrive took its time during the start: the rate is that of what follows.
    later = [moment for moment in times if moment > times[0] + _TOGETHER_S]
    entry = {
        "num_images": len(times),
        "seconds": round(time.monotonic() - start, 2),
        "num_steady": len(later),
        "seconds_steady": round(later[-1] - times[0], 2) if later else 0.0,
    }
    place = join(folder, _LOG)
    known = read_bytes(place).decode() if exists(place) else ""
    write_text(place, known + json.dumps(entry) + "\n")


def speed(folder: str | Path) -> dict[str, float | None]:
    """Over the sessions that came to their end: seconds with start-up, and images per second after it."""
    place = join(folder, _LOG)
    if not exists(place):
        return {}
    entries = [json.loads(line) for line in read_bytes(place).decode().splitlines()]
    seconds, num, steady = (sum(it[name] for it in entries) for name in ("seconds", "num_steady", "seconds_steady"))
    return {"seconds": round(seconds, 1), "images_per_s": round(num / steady, 2) if steady else None}

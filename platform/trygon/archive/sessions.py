"""What a run folder was made with, and how long its sessions took."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trygon.errors import UserError
from trygon.storage import read_json, write_json, write_text

_BOUND, _LOG = "made-with.json", "sessions.jsonl"
_TOGETHER_S = 0.5
"""Images that are done within this time of the first one came in one block with it."""


def bind(folder: Path, makers: dict[str, str]) -> None:
    """Tie a run folder to the digests of its model and detector: vectors of two models are not to be mixed."""
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    path = folder / _BOUND
    if not path.is_file():
        write_json(path, makers)
        return
    known = read_json(path)
    for what, digest in makers.items():
        if known.get(what) != digest:
            raise UserError(f"{folder} holds a run with another {what}; give another --out, or remove it")


@contextmanager
def record(folder: Path) -> Iterator[Callable[[], None]]:
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
    path = folder / _LOG
    known = path.read_text() if path.is_file() else ""
    write_text(path, known + json.dumps(entry) + "\n")


def speed(folder: Path) -> dict[str, float | None]:
    """Over the sessions that came to their end: seconds with start-up, and images per second after it."""
    path = folder / _LOG
    if not path.is_file():
        return {}
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    seconds, num, steady = (sum(it[name] for it in entries) for name in ("seconds", "num_steady", "seconds_steady"))
    return {"seconds": round(seconds, 1), "images_per_s": round(num / steady, 2) if steady else None}

"""What a run folder was made with, and how long its sessions took."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trygon.errors import UserError
from trygon.storage import read_json, write_json, write_text

_BOUND, _LOG = "made-with.json", "sessions.jsonl"


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
def record(folder: Path, num_images: int) -> Iterator[None]:
    """Note a session that came to its end."""
    start = time.monotonic()
    yield
    entry = {"num_images": num_images, "seconds": round(time.monotonic() - start, 2)}
    path = folder / _LOG
    known = path.read_text() if path.is_file() else ""
    write_text(path, known + json.dumps(entry) + "\n")


def speed(folder: Path) -> dict[str, float]:
    """Seconds and images per second over the sessions that came to their end, start-up included."""
    path = folder / _LOG
    entries = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    num_images, seconds = (sum(entry[name] for entry in entries) for name in ("num_images", "seconds"))
    return {"seconds": round(seconds, 1), "images_per_s": round(num_images / seconds, 2)} if seconds else {}

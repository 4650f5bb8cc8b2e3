"""The rows of a file's frames, which come in any order, to one row a file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class _File:
    """What came of a file so far; `last` is the row that says how many there are."""

    num_rows: int = 0
    detections: list[dict[str, Any]] = field(default_factory=list)
    last: dict[str, Any] | None = None
    failure: str | None = None


def gathered(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of MEDIA with `detections`, each as soon as all rows of its file are there.

    Those of a video are in the order of its frames; a file that failed, as one did of which a frame failed, has none.
    """
    open_files: dict[int, _File] = {}
    for row in rows:
        file = open_files.setdefault(row["media_id"], _File())
        file.num_rows += 1
        file.detections += row["detections"]
        file.failure = file.failure or row["failure"]
        file.last = row if row["num_rows"] else file.last
        if file.last is None or file.num_rows < file.last["num_rows"]:
            continue
        del open_files[row["media_id"]]
        file.detections.sort(key=lambda it: it["frame_number"] or 0)
        yield file.last | {"failure": file.failure, "detections": [] if file.failure else file.detections}
    assert not open_files, "every file came whole"

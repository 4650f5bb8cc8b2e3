"""Frames and crops as small JPEGs for a page, read from the archive when they are asked for, and kept for a while.

What happens to people in them is the run's choice. Knows nothing of HTTP or reviews.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from trygon.archive.detection import Box, crop
from trygon.archive.listing import Archive
from trygon.archive.pictures import PERSON, People, output_picture
from trygon.archive.run import Run
from trygon.data.images import encode_jpeg
from trygon.review.columns import Columns

WIDTHS = (240, 960, 1920)
"""Of frames, in pixels: what pages ask for is rounded up to one of these, so that few are kept of each."""

_CACHE_BYTES = 192 << 20
_AT_ONCE = 3
"""Pictures that are decoded at the same time: a big one takes 100 MB meanwhile."""

_QUALITY = 82


class Pictures:
    """Reads an archive's frames. Safe to be called from several threads."""

    def __init__(self, columns: Columns, archive: Archive, people: People) -> None:
        self._columns, self._archive, self._people = columns, archive, people
        self._kept: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._num_bytes = 0
        self._mutex = threading.Lock()
        self._slots = threading.Semaphore(_AT_ONCE)

    @classmethod
    def of(cls, run: Run, columns: Columns, archive: str | None = None) -> "Pictures":
        """Of a run, whose frames may lie elsewhere by now."""
        frames = Archive.of(archive or run.config["archive"], run.config["images"], run.folder)
        return cls(columns, frames, People(run.config["people"]))

    def frame(self, media_id: int, width: int) -> bytes:
        """A frame as JPEG. `LookupError` where the run has none of that id; `OSError` where it cannot be read, or
        is withheld for the people in it."""
        at = self._columns.media_ids.position(media_id)
        if at is None:
            raise LookupError(media_id)
        width = next((each for each in WIDTHS if width <= each), WIDTHS[-1])
        return self._once(("frame", media_id, width), lambda: _sized(self._read(at, width), width))

    def crop(self, observation_id: int, side: int = 240) -> bytes:
        """What an observation's box shows, or its frame where it has none. Raises what `frame` raises."""
        at = self._columns.observation_ids.position(observation_id)
        if at is None:
            raise LookupError(observation_id)

        def cut() -> Image.Image:
            return _sized(self.cut_out(at, side), side)

        return self._once(("crop", observation_id, side), cut)

    def cut_out(self, at: int, side: int) -> Image.Image:
        """The crop of an observation, from a frame that is read at a scale where it has about `side` pixels."""
        left, top, width, height = self._columns.box_M4[at].tolist()
        media = int(self._columns.media_M[at])
        if np.isnan(left):
            return self._read(media, side)
        image = self._read(media, round(side / max(width, height, 0.05)))
        return crop(image, Box(left, top, width, height, 1.0, "animal"))

    def _read(self, media: int, side: int) -> Image.Image:
        """A frame of at least so many pixels on its shorter side, or as many as it has."""
        row, boxes = self._columns.media_row(media), self._boxes(media)
        image = output_picture(self._archive, row, boxes, self._people, side)
        if image is None:
            raise FileNotFoundError(row["path"])
        return image

    def _boxes(self, media: int) -> list[dict[str, Any]]:
        """A frame's boxes, as `output_picture` takes them."""
        rows = np.flatnonzero((self._columns.media_M == media) & ~np.isnan(self._columns.box_M4[:, 0]))
        kinds = self._columns.table["type"].take(rows).to_pylist()
        return [
            dict(zip(("x", "y", "width", "height"), self._columns.box_M4[at].tolist(), strict=True))
            | {"category": PERSON if kind == "human" else kind}
            for at, kind in zip(rows, kinds, strict=True)
        ]

    def _once(self, key: tuple[str, int, int], make: Callable[[], Image.Image]) -> bytes:
        with self._mutex:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._slots:
            data = encode_jpeg(make(), _QUALITY)
        with self._mutex:
            self._num_bytes += len(data) - len(self._kept.pop(key, b""))
            self._kept[key] = data
            while self._num_bytes > _CACHE_BYTES:
                self._num_bytes -= len(self._kept.popitem(last=False)[1])
        return data


def _sized(image: Image.Image, width: int) -> Image.Image:
    if image.width <= width:
        return image
    return image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)

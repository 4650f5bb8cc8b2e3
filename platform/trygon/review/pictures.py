"""Frames and crops as small JPEGs for a page, read from the archive when they are asked for, and kept for a while.

What happens to people in them is the run's choice; who is one, the run and the reviewers say. Knows nothing of HTTP.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from trygon.archive.detection.detector import Box, crop
from trygon.archive.inputs.listing import Archive
from trygon.archive.media.pictures import PERSON, People, is_person, output_picture
from trygon.archive.run_folder.reviews import read_reviews
from trygon.archive.run_folder.run import Run
from trygon.data.images import encode_jpeg
from trygon.review.columns import Columns
from trygon.review.said import Said

WIDTHS = (240, 960, 1920)
"""Of frames, in pixels: what pages ask for is rounded up to one of these, so that few are kept of each."""

_CACHE_BYTES = 192 << 20
_AT_ONCE = 3
"""Pictures that are decoded at the same time: a big one takes 100 MB meanwhile."""

_QUALITY = 82
_WHOLE = (0.0, 0.0, 1.0, 1.0)
_Key = tuple[str, int, int | None, int, tuple[int, ...]]
"""Frame or crop, its id, the number of the frame, the width, and the people that are hidden: all that it shows."""

_Persons = dict[int, dict[str, Any]]


class Pictures:
    """Reads an archive's frames. Safe to be called from several threads."""

    def __init__(self, columns: Columns, archive: Archive, people: People, said: Said) -> None:
        self._columns, self._archive, self._people, self._said = columns, archive, people, said
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._num_bytes = 0
        self._mutex = threading.Lock()
        self._slots = threading.Semaphore(_AT_ONCE)

    @classmethod
    def of(cls, run: Run, columns: Columns, archive: str | None = None, said: Said | None = None) -> "Pictures":
        """Of a run, whose frames may lie elsewhere by now. `said` are its reviews as they come; else those so far."""
        frames = Archive.of(archive or run.config["archive"], run.config["images"], run.folder)
        said = said or Said(read_reviews(run.folder).to_pylist())
        return cls(columns, frames, People(run.config["people"]), said)

    def frame(self, media_id: int, width: int, number: int | None = None) -> bytes:
        """A frame as JPEG, of a video the one of that number, else the first that was looked at.

        `LookupError` where the run has none such; `OSError` where it cannot be read, or is withheld for the people in
        it.
        """
        media = self._columns.media_ids.position(media_id)
        if media is None:
            raise LookupError(media_id)
        numbers = self._columns.frame_numbers(media)
        number = numbers[0] if number is None else number
        if number not in numbers:
            raise LookupError(number)
        width = next((each for each in WIDTHS if width <= each), WIDTHS[-1])
        persons = self._persons(media)
        key = ("frame", media_id, number, width, tuple(persons))
        return self._once(key, lambda: _sized(self._read(media, number, persons, width), width))

    def crop(self, observation_id: int, side: int = 240) -> bytes:
        """What an observation's box shows, or its frame where it has none. Raises what `frame` raises."""
        at = self._columns.observation_ids.position(observation_id)
        if at is None:
            raise LookupError(observation_id)
        persons = self._persons(int(self._columns.media_M[at]))
        key = ("crop", observation_id, None, side, tuple(persons))
        return self._once(key, lambda: _sized(self._cut_out(at, persons, side), side))

    def example(self, at: int, side: int) -> Image.Image | None:
        """The crop of an observation, from a frame that is read at a scale where it has about `side` pixels; None
        where what it shows is hidden, by itself or with its whole frame. Raises `OSError` as `frame` does."""
        columns, persons = self._columns, self._persons(int(self._columns.media_M[at]))
        whole = [one for one in persons if np.isnan(columns.box_M4[one, 0])]
        is_hidden = at in persons or any(columns.frame_M[one] in (-1, columns.frame_M[at]) for one in whole)
        if is_hidden and self._people is not People.SHOW:
            return None
        return self._cut_out(at, persons, side)

    def _cut_out(self, at: int, persons: _Persons, side: int) -> Image.Image:
        left, top, width, height = self._columns.box_M4[at].tolist()
        media, number = int(self._columns.media_M[at]), int(self._columns.frame_M[at])
        of_video = None if number < 0 else number
        if np.isnan(left):
            return self._read(media, of_video, persons, side)
        image = self._read(media, of_video, persons, round(side / max(width, height, 0.05)))
        return crop(image, Box(left, top, width, height, 1.0, "animal"))

    def _read(self, media: int, number: int | None, persons: _Persons, side: int) -> Image.Image:
        """A frame of at least so many pixels on its shorter side, or as many as it has."""
        row = self._columns.media_row(media)
        image = output_picture(self._archive, row, persons.values(), self._people, side, number)
        if image is None:
            raise FileNotFoundError(row["path"])
        return image

    def _persons(self, media: int) -> _Persons:
        """The people in a file as boxes that `output_picture` takes, by their observations. A file that somebody says
        shows one, where no box is, is hidden as a whole."""
        columns, found = self._columns, {}
        for at in np.flatnonzero(columns.media_M == media).tolist():
            number, sides = int(columns.frame_M[at]), columns.box_M4[at].tolist()
            box = dict(zip(("x", "y", "width", "height"), _WHOLE if np.isnan(sides[0]) else sides, strict=True))
            box |= {"category": PERSON if columns.person_M[at] else "", "type": self._type(at)}
            if is_person(box):
                found[at] = box | {"frame_number": None if number < 0 else number}
        return found

    def _type(self, at: int) -> str:
        """What an observation is called. One that a reviewer calls nothing keeps the type that it was predicted: that
        shows nobody."""
        said = self._said.of(self._columns.table["observation_id"][at].as_py())
        return said["type"] if said and said["type"] != "blank" else self._columns.table["type"][at].as_py()

    def _once(self, key: _Key, make: Callable[[], Image.Image]) -> bytes:
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

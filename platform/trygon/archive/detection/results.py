"""Boxes that another program found: result files of MegaDetector (formats 1.0 and later) and of SpeciesNet.

Names of species in them are not read. A file of millions of entries is read in a stream and kept as arrays.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np

from trygon.archive.detection.detector import MEGADETECTOR_CATEGORIES, Box, Thresholds
from trygon.archive.inputs.names import ARCHIVE_SUFFIXES
from trygon.errors import UserError
from trygon.storage import address_of, digest_file, name_of, open_input, stable_id

_NAMES = {"human": "person"}
_USUAL = 0.2
"""MegaDetector 5's own threshold, for files that say nothing."""

_MOST_FOLDERS = 12


@dataclass(frozen=True, slots=True)
class FileBoxes:
    """What a result file says of one file of the archive: boxes by frame number, which is None for a still picture."""

    failed: bool
    boxes: tuple[tuple[int | None, Box], ...] = ()


@dataclass(frozen=True)
class Results:
    """A result file. F its entries by the key of their path, N its boxes above their thresholds."""

    key_F: np.ndarray
    first_F: np.ndarray
    """The first box of an entry; one more at the end."""
    failed_F: np.ndarray
    box_N5: np.ndarray
    """Left, top, width, height (0..1), confidence."""
    category_N: np.ndarray
    frame_N: np.ndarray
    """-1 for still pictures."""
    categories: tuple[str, ...]

    def of(self, path: str) -> FileBoxes | None:
        """What it says of a file of the archive; None where there is no entry."""
        at = int(np.searchsorted(self.key_F, _key(path)))
        if at == len(self.key_F) or self.key_F[at] != _key(path):
            return None
        if self.failed_F[at]:
            return FileBoxes(True)
        rows = range(self.first_F[at], self.first_F[at + 1])
        return FileBoxes(False, tuple((_frame(self.frame_N[row]), self._box(row)) for row in rows))

    def _box(self, row: int) -> Box:
        x, y, width, height, confidence = (float(value) for value in self.box_N5[row])
        return Box(x, y, width, height, confidence, self.categories[self.category_N[row]])


@dataclass(frozen=True)
class ResultFile:
    """A result file at a place, not read yet; `thresholds` go before what it says is typical of a category."""

    place: str
    thresholds: Thresholds = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file's."""
        return name_of(self.place)

    @property
    def digest(self) -> str:
        """SHA-256 of the file, and the thresholds."""
        return f"{digest_file(self.place)}:{dict(self.thresholds)}"

    def least(self) -> Mapping[str, float]:
        """The least confidence of each of its categories: that given, else the one that the file says is typical, else
        0.2."""
        return dict.fromkeys(self._categories.values(), self._typical()) | dict(self.thresholds)

    def read(self, root: str, paths: Iterable[str]) -> Results:
        """Its boxes for the files of an archive at `root` with these paths.

        Its paths may have folders in front of the archive's, of several kinds where files were merged, and it may tell
        of more than the archive: what lies in other folders is left out. Raises `UserError` where it is no result
        file, has nothing to do with the archive, or leaves open which of its folders the archive is.
        """
        begins = _begins(self.place, root, np.sort(np.fromiter(map(_key, paths), np.int64)))
        columns = _Columns(self._categories, self.least())
        for entry in _entries(self.place):
            begin = next(filter(entry.path.startswith, begins), None)
            if begin is not None:
                columns.add(_key(entry.path.removeprefix(begin)), entry)
        return columns.results()

    @cached_property
    def _categories(self) -> dict[str, str]:
        """The names of categories by their numbers in the file, whose end may have them: it is read once."""
        own = {key: str(name).lower() for key, name in _one(self.place, "detection_categories").items()}
        names = MEGADETECTOR_CATEGORIES | own  # a file's own go first
        return {key: _NAMES.get(name, name) for key, name in names.items()}

    def _typical(self) -> float:
        """What the file says is typical, if it says a confidence."""
        about = _one(self.place, "info").get("detector_metadata")
        typical = about.get("typical_detection_threshold") if isinstance(about, dict) else None
        if isinstance(typical, int | float) and not isinstance(typical, bool) and 0 <= typical <= 1:
            return float(typical)
        return _USUAL


def _frame(number: int) -> int | None:
    return None if number < 0 else int(number)


def _key(path: str) -> int:
    return stable_id("path", path)


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    failed: bool
    detections: list[Any]


@dataclass
class _Columns:
    """Entries as they are read."""

    names: dict[str, str]
    thresholds: Thresholds
    keys: "array[int]" = field(default_factory=lambda: array("q"))
    num_boxes: "array[int]" = field(default_factory=lambda: array("i"))
    failed: "array[int]" = field(default_factory=lambda: array("b"))
    boxes: "array[float]" = field(default_factory=lambda: array("f"))
    category: "array[int]" = field(default_factory=lambda: array("b"))
    frame: "array[int]" = field(default_factory=lambda: array("i"))

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """All names that a box may have, each once."""
        return tuple(dict.fromkeys(self.names.values()))

    def add(self, key: int, entry: _Entry) -> None:
        """Take an entry with its boxes above the threshold, best first. One that makes no sense has failed."""
        try:
            found = sorted(map(self._read, entry.detections), key=lambda it: -it[1][4])
        except (TypeError, ValueError, KeyError, AttributeError):
            entry, found = _Entry(entry.path, True, []), []
        # What lies beside the frame, or on its edge, shows nothing.
        seen = [it for it in found if it[1][2] > 0 and it[1][3] > 0]
        kept = [it for it in seen if it[1][4] >= self.thresholds[it[0]]]
        self.keys.append(key)
        self.failed.append(entry.failed)
        self.num_boxes.append(len(kept))
        for name, box, frame in kept:
            self.boxes.extend(box)
            self.category.append(self.categories.index(name))
            self.frame.append(frame)

    def _read(self, detection: Mapping[str, Any]) -> tuple[str, list[float], int]:
        left, top, width, height = (float(value) for value in detection["bbox"])
        box = [*_within(left, width), *_within(top, height)]
        box = [box[0], box[2], box[1], box[3], float(detection["conf"])]
        if not all(map(math.isfinite, box)):
            raise ValueError("no number")
        frame = detection.get("frame_number")
        return self.names[str(detection["category"])], box, -1 if frame is None else int(frame)

    def results(self) -> Results:
        """All entries, by key; of two for one file the first one counts."""
        key_F, order = np.unique(np.asarray(self.keys, np.int64), return_index=True)
        num_F = np.asarray(self.num_boxes, np.int64)
        start_F, num_F = (np.cumsum(num_F) - num_F)[order], num_F[order]
        first_F = np.concatenate([[0], np.cumsum(num_F)])
        row_N = np.repeat(start_F - first_F[:-1], num_F) + np.arange(first_F[-1])
        return Results(
            key_F,
            first_F,
            np.asarray(self.failed, bool)[order],
            np.asarray(self.boxes, np.float32).reshape(-1, 5)[row_N],
            np.asarray(self.category, np.int8)[row_N],
            np.asarray(self.frame, np.int32)[row_N],
            self.categories,
        )


def _within(start: float, length: float) -> tuple[float, float]:
    """A span without what sticks out of the frame."""
    low, high = max(0.0, min(1.0, start)), max(0.0, min(1.0, start + length))
    return low, max(0.0, high - low)


def _entries(place: str) -> Iterator[_Entry]:
    """The entries of either format; `UserError` where there are none."""
    num = 0
    for entry in _objects(place, "images"):
        num += 1
        failed = bool(entry.get("failure")) or not isinstance(entry.get("detections"), list)
        yield _Entry(_path(place, entry, "file"), failed, [] if failed else entry["detections"])
    if num:
        return
    for entry in _objects(place, "predictions"):
        num += 1
        failures = entry.get("failures")
        saw_nothing = isinstance(failures, list) and "DETECTOR" in failures
        failed = saw_nothing or not isinstance(entry.get("detections"), list)
        yield _Entry(_path(place, entry, "filepath"), failed, [] if failed else entry["detections"])
    if not num:
        raise UserError(
            f"--detections {place} has neither `images` as MegaDetector writes nor SpeciesNet's `predictions`"
        )


def _objects(place: str, name: str) -> Iterator[dict[str, Any]]:
    for number, entry in enumerate(_stream(place, f"{name}.item"), 1):
        if not isinstance(entry, dict):
            raise UserError(f"--detections {place}: entry {number:,} of `{name}` is no object: write the file anew")
        yield entry


def _path(place: str, entry: Mapping[str, Any], name: str) -> str:
    path = entry.get(name)
    if not isinstance(path, str):
        raise UserError(f"--detections {place}: an entry has no {name!r}")
    return path.replace("\\", "/").lstrip("/").removeprefix("./")


def _one(place: str, prefix: str) -> dict[str, Any]:
    found = next(_stream(place, prefix), None)
    return found if isinstance(found, dict) else {}


def _stream(place: str, prefix: str) -> Iterator[Any]:
    """The values at a place in a JSON file, one after the other."""
    import ijson

    try:
        with open_input(place) as file:
            yield from ijson.items(file, prefix, use_float=True)
    except OSError as error:
        raise UserError(f"--detections {place} cannot be read: {error.strerror or error}") from error
    except ijson.JSONError as error:
        raise UserError(f"--detections {place} is no whole JSON file: {error}") from error


def _begins(place: str, root: str, known: np.ndarray) -> list[str]:
    """What stands in front of the archive's own paths, each with its own files: folders, each ended by a slash."""
    found: dict[str, array[int]] = {}
    sizes: Counter[str] = Counter()
    example = ""
    for entry in _entries(place):
        example = example or entry.path
        for begin in _fronts(entry.path):
            sizes[begin] += 1
            key = _key(entry.path.removeprefix(begin))
            at = np.searchsorted(known, key)
            if at < len(known) and known[at] == key:
                found.setdefault(begin, array("q")).append(int(at))
    if not found:
        raise UserError(f"--detections {place} speaks of no file of the archive; its first one is {example!r}")
    num = {begin: len(files) for begin, files in found.items()}
    rest = sorted(num, key=lambda begin: (-num[begin], len(begin)))
    begins: list[str] = []
    while rest:
        best = rest[0]
        same = _sharing(found, rest, best, len(known))
        # A folder with few hits has them by chance, and so has one within the best one or around it: names repeat.
        rivals = [
            it for it in rest
            if (num[it] == num[best] and (it in same or _nested(it, best)))
            or (2 * num[it] > num[best] and it in same and not _nested(it, best))
        ]  # fmt: skip
        begins.append(best if len(rivals) == 1 else _called_as(place, root, rivals))
        same |= _sharing(found, rest, begins[-1], len(known))
        # Others are of merged files: most of what lies there is of the archive, and no file that has its boxes.
        rest = [it for it in rest if it not in same and not _nested(it, begins[-1]) and 2 * num[it] > sizes[it]]
    return begins


def _sharing(found: Mapping[str, "array[int]"], begins: Sequence[str], one: str, num_known: int) -> set[str]:
    """Those that lead to files of the archive that `one` leads to as well."""
    is_of_one = np.zeros(num_known, bool)
    is_of_one[found[one]] = True
    return {begin for begin in begins if is_of_one[found[begin]].any()}


def _nested(begin: str, other: str) -> bool:
    return begin.startswith(other) or other.startswith(begin)


def _fronts(path: str) -> Iterator[str]:
    """All that a path may have in front, nothing at first."""
    folders = path.split("/")[:-1]
    return ("".join(f"{folder}/" for folder in folders[:num]) for num in range(min(_MOST_FOLDERS, len(folders)) + 1))


def _called_as(place: str, root: str, begins: Sequence[str]) -> str:
    """The one whose last folders are those of the archive's path; a packed file is called as its folder was."""
    address = address_of(root)
    root = address.path if address else root
    suffix = next(filter(root.lower().endswith, ARCHIVE_SUFFIXES), "")
    names = (root, root[: len(root) - len(suffix)])
    ends = {begin: max(_num_alike(begin, name) for name in names) for begin in begins}
    best = max(ends, key=lambda begin: ends[begin])
    if list(ends.values()).count(ends[best]) > 1:
        raise UserError(
            f"--detections {place} has files of these names in several folders, such as {begins[0]!r} and "
            f"{begins[1]!r}, and the archive's own path does not say which: leave the entries of one folder in it"
        )
    return best


def _num_alike(begin: str, root: str) -> int:
    """How many folders two paths have in common at their ends."""
    pairs = zip(*(reversed(path.replace("\\", "/").rstrip("/").split("/")) for path in (begin, root)), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1] != "", pairs))

"""Which files an archive has, as a table in the run folder: written and read in batches, never held whole.

Reads names and sizes, never a picture.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trygon.archive.inputs.beside import batch_of, put_beside
from trygon.archive.inputs.deployments import Deployment, Deployments
from trygon.archive.inputs.folder import RunFolders, walk
from trygon.archive.inputs.lists import LISTS, Times, folder_of, list_kind
from trygon.archive.inputs.media import MediaFile, is_media, is_unsupported, suffix_of
from trygon.archive.inputs.packed import PACKED, index_of, list_members, opened, packed_kind
from trygon.archive.inputs.zones import local
from trygon.errors import UserError
from trygon.lease import Hold
from trygon.schemas import LISTED
from trygon.storage import absolute, copy_file, is_remote, join, open_input, read_bytes
from trygon.wording import first_of

NAME = "listing.parquet"
_BATCH = 10_000
_MOST_SUFFIXES = 5
"""Of files that are left alone: a note shows as many."""
_NOT_THERE = pa.array(["missing", "outside"])
_TOLD = [name for name in LISTED.names if name not in ("mark", "member")]
"""What a run's tables follow from: a file that was only touched or moved within its container changes nothing."""


@dataclass(frozen=True)
class Archive:
    """Frames of cameras: a folder tree, a zip or tar file, or a list of files, on disk or under an `s3://` prefix.

    `images` is where the files of a list are, if not beside it; `index` where the index of a gzip is kept, and beside
    it those of gzips in a folder, so that workers find a member without reading what stands before it. What was found
    out of the archive travels with it to workers.
    """

    uri: str
    images: str = ""
    index: str = ""

    @classmethod
    def of(cls, archive: str, images: str | None, run: str | Path) -> "Archive":
        """As a run's config has it: its paths may be relative to this folder."""
        return cls(absolute(archive), absolute(images) if images else "", absolute(join(run, "archive.gzindex")))

    @cached_property
    def list_kind(self) -> str | None:
        """Which of `LISTS` it is; None where it is the files themselves."""
        return list_kind(self.uri)

    @cached_property
    def root(self) -> str:
        """The folder, zip or tar that has the files."""
        if self.images and not self.list_kind:
            raise UserError(f"--images is for lists (JSON, CSV), and {self.uri} is none")
        return self.images or (folder_of(self.uri) if self.list_kind else self.uri)

    def require(self) -> None:
        """`UserError` where there is no such folder or file on this machine."""
        for place in (self.uri, self.root):
            if not is_remote(place) and not Path(place).is_dir() and not Path(place).is_file():
                raise UserError(f"the archive {place} is not a folder; give the folder that holds the cameras' files")
        if not is_remote(self.root) and Path(self.root).is_file() and packed_kind(self.root) is None:
            kinds = ", ".join([*PACKED, ".json", ".csv"])
            raise UserError(f"the archive {self.root} is no kind of file that is known here ({kinds}): unpack it")

    def files(self, skip: str | Path | None = None, times: Times | None = None) -> Iterator[MediaFile]:
        """All files, also those that are no frames. `skip` is a folder of ours within the archive; `times` reads those
        of a list.

        Raises `UserError` for a missing or unreadable folder: frames are never left out in silence.
        """
        if packed_kind(self.root) and not Path(self.root).is_dir():
            files = list_members(self.root, self.index)
        else:
            files = opened(walk(self.root, skip), self.root, self.index)
        if not self.list_kind:
            return files
        return put_beside(files, LISTS[self.list_kind].entries(self.uri, times or Times()))

    def deployments(self, zone: str) -> tuple[Deployment, ...]:
        """What a list says of them."""
        return LISTS[self.list_kind].deployments(self.uri, zone) if self.list_kind else ()

    def read(self, path: str, member: str | None = None) -> bytes:
        """A file's content. Raises `OSError` where the file is the reason, `TrygonError` where S3 is."""
        if member is not None:
            container, _, span = member.rpartition("@")
            place = join(self.root, container) if container else self.root
            kind = packed_kind(place)
            assert kind is not None, "members are of files of a known kind"
            return kind.read(place, span, index_of(self.index, container))
        return read_bytes(join(self.root, path))


@dataclass(frozen=True)
class Listing:
    """LISTED rows of the frames of an archive in the file at `place`: by path, or as a packed file has them."""

    place: str
    num_files: int
    num_ignored: int
    """Other files of the archive."""
    digest: str
    """Another one when a file is added, removed, or another size, deployment or time is listed."""
    notes: tuple[str, ...] = ()
    """What somebody should hear of the list and the table of deployments."""
    offsets: tuple[str, ...] = ()
    """Those that times of a list had, the most frequent first."""
    num_moved: int = 0
    """Times of a list that had an offset, and were moved into the zone of the run."""

    def numbers(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Media ids, sizes and marks: three (N,) int64, in the listing's order."""
        with open_input(self.place) as file:
            columns = pq.ParquetFile(file).read(["media_id", "bytes", "mark"])
        media_id, num_bytes, mark = (column.to_numpy() for column in columns.columns)
        return media_id, num_bytes, mark

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in order."""
        with open_input(self.place) as file:
            yield from _rows(pq.ParquetFile(file))


def _rows(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    for batch in file.iter_batches(_BATCH):
        yield batch.cast(LISTED)  # Parquet has no seconds


def write_listing(
    archive: Archive,
    folder: str | Path,
    hold: Hold,
    skip: str | Path | None = None,
    deployments: Deployments | None = None,
    zone: str = "+00:00",
) -> Listing:
    """List an archive into a run folder: a listing that stands there is replaced by the whole new one, at the end.

    Times of a list that have an offset are moved into the zone.
    """
    deployments = deployments or Deployments()
    place, digest, counts = join(folder, NAME), hashlib.sha256(), {"files": 0, "there": 0, "again": 0}
    runs, times, ignored, example = RunFolders(), Times(), Counter[str](), ""
    with tempfile.TemporaryDirectory(prefix="trygon-") as scratch:
        first, second = Path(scratch, "all.parquet"), Path(scratch, NAME)
        with pq.ParquetWriter(first, LISTED, compression="zstd") as writer:
            for batch in _batches(
                archive.files(skip, times), ignored, runs, lambda file: _row(file, deployments, zone)
            ):
                writer.write_batch(batch)
        with pq.ParquetWriter(second, LISTED, compression="zstd") as writer, pq.ParquetFile(first) as found:
            again, start = _named_again(found), 0
            for batch in _rows(found):
                is_of_run = _begins(batch, runs.prefixes)
                is_again = again[start : start + batch.num_rows] & ~is_of_run
                start += batch.num_rows
                if is_again.any():
                    counts["again"] += int(is_again.sum())
                    example = example or batch["path"][int(is_again.argmax())].as_py()
                kept = batch.filter(pa.array(~is_of_run & ~is_again))
                counts["files"] += kept.num_rows
                counts["there"] += pc.sum(pc.invert(pc.is_in(kept["failure"], _NOT_THERE))).as_py() or 0
                digest.update(kept.select(_TOLD).serialize())
                writer.write_batch(kept)
        if archive.list_kind and counts["files"] and not counts["there"]:
            told = f"{archive.uri} names {counts['files']:,} files, and none of them is in {archive.root}"
            raise UserError(f"{told}: say with --images where they are")
        hold.check()
        copy_file(second, place)
    notes = (*times.notes(), *deployments.notes(), *_again_notes(counts["again"], example))
    notes += tuple(_ignored_notes(ignored, archive.list_kind))
    offsets = tuple(it for it, _ in times.offsets.most_common())
    return Listing(place, counts["files"], ignored.total(), digest.hexdigest(), notes, offsets, times.offsets.total())


def _batches(
    files: Iterator[MediaFile],
    ignored: Counter[str],
    runs: RunFolders,
    row_of: Callable[[MediaFile], tuple[object, ...]],
) -> Iterator[pa.RecordBatch]:
    rows: list[tuple[object, ...]] = []
    for file in files:
        runs.note(file.path)
        if file.unlisted or (file.failure is None and not is_media(file.path)):
            ignored[suffix_of(file.path)] += 1
            continue
        if file.failure is None and is_unsupported(file.path):
            file = replace(file, failure="unsupported")
        rows.append(row_of(file))
        if len(rows) == _BATCH:
            yield batch_of(rows, LISTED)
            rows.clear()
    yield batch_of(rows, LISTED)


def _row(file: MediaFile, deployments: Deployments, zone: str) -> tuple[object, ...]:
    time = file.timestamp and local(file.timestamp, zone)
    facts = (file.mark, file.member, file.failure, time, file.sequence)
    return (file.media_id, file.path, deployments.name_of(file), file.bytes, *facts)


def _named_again(listed: pq.ParquetFile) -> np.ndarray:
    """Whether a later row names the same file as each one, as zip and tar files may do. (N,) bool."""
    ids = listed.read(["media_id"])["media_id"].to_numpy()
    again = np.ones(len(ids), bool)
    again[len(ids) - 1 - np.unique(ids[::-1], return_index=True)[1]] = False
    return again


def _begins(batch: pa.RecordBatch, prefixes: tuple[str, ...]) -> np.ndarray:
    """Whether the path of each row begins so: (N,) bool."""
    if not prefixes:
        return np.zeros(batch.num_rows, bool)
    return np.array([path.startswith(prefixes) for path in batch["path"].to_pylist()], bool)


def _again_notes(num: int, example: str) -> list[str]:
    """What to say of names that stand in a packed file more than once."""
    if not num:
        return []
    return [
        f"{num:,} entries of packed files have the name of a later one, such as {example!r}: of each name the last "
        "counts, which is what unpacking leaves. If the others are pictures of their own, pack them under other names"
    ]


def _ignored_notes(ignored: Counter[str], list_kind: str | None) -> list[str]:
    """What to say of files that are left alone, by their extensions. Beside a list its own tables are no news."""
    told = Counter({suffix: num for suffix, num in ignored.items() if not list_kind or is_media(f"x{suffix}")})
    if not told:
        return []
    shown = first_of([f"{num:,} {it or 'without an extension'}" for it, num in told.most_common()], _MOST_SUFFIXES)
    why = "are not in the list" if list_kind else "have no extension of a picture or video"
    return [f"{told.total():,} files of the archive {why}, and are left alone: {shown}"]

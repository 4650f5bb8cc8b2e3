"""Rendered pictures on their way to shards: parts, each a file of JPEGs end to end and a table of where each is.

The JPEGs of a part lie in the order of their sample ids, which are hashes. A shard is a range of ids, so it reads one
stretch of each part: that spreads every source and class over all shards without holding the data set in memory.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from trygon.data.fingerprints import BITS, DIGEST_BYTES
from trygon.data.render import Render, sample_id
from trygon.data.shards import open_shard
from trygon.storage import join, read_ranges, write_bytes
from trygon.tables import write_table

RENDER = pa.schema(
    [
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("view", pa.int32(), nullable=False),
        pa.field("sample_id", pa.int64(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("bytes", pa.int32(), nullable=False),
        pa.field("digest", pa.binary(DIGEST_BYTES)),  # of view 0
        pa.field("fingerprint", pa.binary(BITS // 8)),  # of view 0; null where the picture is flat
        pa.field("reason", pa.string(), nullable=False),  # blank where it can be used
    ]
)
"""One row a rendered picture of a part."""

_GAP_BYTES = 1 << 16
"""Stretches nearer than this are read in one go."""

_READERS = 8
"""Parts read at a time by one task: object storage answers many small requests, each slowly."""


@dataclass(frozen=True, order=True)
class Part:
    """Where a part of a unit lies."""

    folder: str
    unit: int
    index: int

    @property
    def pictures(self) -> str:
        """The JPEGs."""
        return join(self.folder, f"{self.unit:06d}-{self.index:05d}.jpegs")

    @property
    def table(self) -> str:
        """What is where, as RENDER. Written last: it makes the part complete."""
        return join(self.folder, f"{self.unit:06d}-{self.index:05d}.parquet")


def write_part(part: Part, source: str, renders: Iterable[Render]) -> int:
    """Write the renders of one part; the number of rows."""
    rows = sorted(((sample_id(source, it.source_id, it.view), it) for it in renders), key=lambda row: row[0])
    sizes = np.asarray([len(render.image) for _, render in rows], np.int64)
    columns = {
        "source_id": [render.source_id for _, render in rows],
        "view": [render.view for _, render in rows],
        "sample_id": [identity for identity, _ in rows],
        "offset": np.cumsum(sizes) - sizes,
        "bytes": sizes.astype(np.int32),
        "digest": [render.digest for _, render in rows],
        "fingerprint": [render.fingerprint for _, render in rows],
        "reason": [render.reason for _, render in rows],
    }
    write_bytes(part.pictures, b"".join(render.image for _, render in rows))
    write_table(part.table, pa.table(columns, schema=RENDER))
    return len(rows)


def read_part(part: Part) -> pa.Table:
    """The table of a part: RENDER."""
    with open_shard(part.table) as table:
        return table.read()


def read_pictures(parts: Sequence[Part], part_N: np.ndarray, offset_N: np.ndarray, bytes_N: np.ndarray) -> list[bytes]:
    """The JPEGs at these places, in the order asked for."""
    images: list[bytes] = [b""] * len(part_N)
    order = np.lexsort((offset_N, part_N))
    cuts = np.flatnonzero(np.diff(part_N[order])) + 1
    with ThreadPoolExecutor(_READERS) as pool:
        groups = [group for group in np.split(order, cuts) if group.size]
        found = pool.map(lambda group: _read_of(parts[int(part_N[group[0]])], offset_N[group], bytes_N[group]), groups)
        for group, pictures in zip(groups, found, strict=True):
            for index, picture in zip(group.tolist(), pictures, strict=True):
                images[index] = picture
    return images


def _read_of(part: Part, offset_M: np.ndarray, bytes_M: np.ndarray) -> list[bytes]:
    """JPEGs of one part, by rising offset: neighbours in one read."""
    ends_M = offset_M + bytes_M
    cuts = np.flatnonzero(offset_M[1:] - ends_M[:-1] > _GAP_BYTES) + 1
    groups = np.split(np.arange(len(offset_M)), cuts)
    ranges = [(int(offset_M[group[0]]), int(ends_M[group].max())) for group in groups]
    pictures = []
    for group, (start, _), stretch in zip(groups, ranges, read_ranges(part.pictures, ranges), strict=True):
        within_M2 = np.stack([offset_M[group], ends_M[group]], axis=1) - start
        pictures += [stretch[first:last] for first, last in within_M2.tolist()]
    return pictures

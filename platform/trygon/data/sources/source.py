"""What every source of pictures offers: records of what it says, and units to read. Knows no data set's format."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

import pyarrow as pa

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"})
"""Extensions of pictures, in lower case."""

UNIT_FILES = 1024
"""Most files of a folder in one unit."""


@dataclass(frozen=True)
class Unit:
    """What one task reads in one go: files of a folder, or an archive.

    `members` of a folder are relative to `uri`, at most UNIT_FILES; of an archive there are none: it is read whole.
    """

    uri: str
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A picture's bytes as the source holds them, or none and why.

    Reasons: missing, unreadable, too_large; and damaged_archive, once, with the archive's name for its id, where an
    archive broke off: what stood before the damage came before.
    """

    source_id: str
    data: bytes
    reason: str = ""


class Source(Protocol):
    """A data set in one place. Frozen and picklable; two readings of the same files give the same, in the same order.

    `source_id` ties pictures to records. There may be pictures without a record, and records without a picture.
    """

    @property
    def name(self) -> str:
        """What stands in the column `source` of its samples."""
        ...

    @property
    def uri(self) -> str:
        """The folder, archive or list."""
        ...

    def records(self) -> pa.Table:
        """What the source says of its pictures, names as it has them: schemas.RECORD. See `num_bad_lines`.

        Raises `UserError` where a file is missing that says it.
        """
        ...

    def units(self) -> list[Unit]:
        """All that there is to read, in a stable order; `UserError` where there is nothing."""
        ...

    def read(self, unit: Unit) -> Iterator[Picture]:
        """The pictures of a unit, one after the other. What cannot be read is a picture with a reason."""
        ...


def is_picture(path: str) -> bool:
    """Whether a file's name is one of a picture; the shadow files that macOS puts into archives are none."""
    pure = PurePosixPath(path)
    return pure.suffix.lower() in IMAGE_SUFFIXES and not pure.name.startswith("._") and "__MACOSX" not in pure.parts

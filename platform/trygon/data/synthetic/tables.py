"""CSV and TSV as the sources write them, and who is named as the owner of a picture. Knows no source's columns."""

import csv
import io
from collections.abc import Iterable, Sequence

from trygon.storage import join, write_bytes

LICENSES = ("cc0", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-4.0")
_HOLDERS = tuple(f"trygon synthesize, hand {number}" for number in range(1, 7))


def license_of(serial: int) -> str:
    """A picture's licence."""
    return LICENSES[serial * 7 % 31 % len(LICENSES)]


def holder_of(serial: int) -> str:
    """A picture's owner."""
    return _HOLDERS[serial * 5 % 23 % len(_HOLDERS)]


def csv_bytes(header: Sequence[str] | None, rows: Iterable[Sequence[object]], delimiter: str = ",") -> bytes:
    """Rows as CSV with an optional header; tab-separated ones are never quoted."""
    text = io.StringIO()
    if delimiter == "\t":
        writer = csv.writer(text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    else:
        writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header] if header else [])
    writer.writerows(rows)
    return text.getvalue().encode()


def write_csv(
    out: str, path: str, header: Sequence[str] | None, rows: Iterable[Sequence[object]], delimiter: str = ","
) -> None:
    """Write a table below the place `out`."""
    write_bytes(join(out, path), csv_bytes(header, rows, delimiter))

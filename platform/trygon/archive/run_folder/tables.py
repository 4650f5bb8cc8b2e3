"""The Parquet files of a run folder, read so that a damaged one is told by its name, with the way out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trygon.errors import UserError
from trygon.storage import open_input


class DamagedError(UserError):
    """A file of a run folder that cannot be read, or is not there."""

    def __init__(self, place: str | Path, is_missing: bool = False) -> None:
        again = "the `trygon label` command that made that run again: what was in it is made anew"
        way_out = f"is missing: give {again}" if is_missing else f"is damaged: remove it, and give {again}"
        super().__init__(f"{place} {way_out}")
        self.place = str(place)


def read_table(place: str | Path, **options: Any) -> pa.Table:
    """A Parquet file of a run folder. Takes pyarrow's options. `DamagedError` where it cannot be read."""
    with _telling(place), open_input(place) as file:
        return pq.read_table(file, **options)


def require_whole(place: str | Path) -> None:
    """`DamagedError` unless all of a Parquet file can be read."""
    with _telling(place), open_input(place) as file, pq.ParquetFile(file) as table:
        for _ in table.iter_batches():
            pass


def is_whole(place: str | Path) -> bool:
    """Whether a Parquet file is there and ends as it should: its end says what is in it."""
    try:
        with _telling(place), open_input(place) as file:
            pq.read_metadata(file)
    except DamagedError:
        return False
    return True


@contextmanager
def _telling(place: str | Path) -> Iterator[None]:
    """Say of a file that cannot be read which one it is, and what is to be done."""
    try:
        yield
    except FileNotFoundError as error:
        raise DamagedError(place, is_missing=True) from error
    except OSError as error:
        # Arrow's own are of no kind and have no number; those of the system, and time-outs, say nothing of the file.
        if type(error) is not OSError or error.errno is not None:
            raise
        raise DamagedError(place) from error
    except pa.ArrowInvalid as error:
        raise DamagedError(place) from error

"""A finished run folder: as a database that is asked in SQL and answers in batches, or as whole tables.

A run may have millions of rows: what loops over them asks the database.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field as default
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyarrow.dataset import field

from trygon.archive.inputs.zones import zone_of
from trygon.archive.naming.repooling import under_standing_names
from trygon.archive.run_folder.database import TABLES, open_database
from trygon.archive.run_folder.reviews import apply, read_reviews
from trygon.archive.run_folder.sessions import require_version
from trygon.archive.run_folder.tables import is_whole, read_table, require_whole
from trygon.errors import UserError
from trygon.schemas import REPOOLED
from trygon.storage import exists, is_remote, join, open_input, read_json

SUMMARY = "summary.json"
REPEATS = "repeats.csv"
"""Boxes that were found in so many frames that they are set aside, a line each."""

REPOOLED_FILE = "repooled.parquet"
"""REPOOLED: what is left of events when the boxes are left out that people spoke against."""

_BATCH = 10_000
"""Rows. While they become Python's no other thread runs, and the one that renews the lease has to."""


@dataclass(frozen=True)
class Run:
    """Everything that one labelling run wrote. What is asked for is read then, and reviews with the first of it."""

    folder: str | Path
    summary: dict[str, Any] = default(default_factory=dict)
    """Counts, the model's name, and when the run ended. Its file is the last one that a run writes."""

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """`UserError` unless labelling has ended there."""
        if not exists(join(folder, SUMMARY)):
            raise UserError(f"{folder} is not a finished run; make one with `trygon label ARCHIVE --out {folder}`")
        require_version(folder)
        return cls(folder, read_json(join(folder, SUMMARY)))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config of the job that wrote this."""
        return read_json(join(self.folder, "config.json"))

    def zone(self, asked: str | None = None) -> str:
        """The zone of its clocks: that which is asked for, else its own. `UserError` where its times were moved into
        its own and another is asked for."""
        own, num = self.config["time_zone"], self.summary.get("num_moved", 0)
        if num and asked is not None and zone_of(asked) != zone_of(own):
            raise UserError(
                f"--time-zone {asked}: {num:,} times of the list of {self.folder} had an offset and were moved into "
                f"{own}; leave --time-zone out, or give its `trygon label` again with --time-zone {asked}, which "
                "reads no picture again"
            )
        return own if asked is None else asked

    def batches(self, sql: str, **tables: pa.Table) -> Iterator[pa.RecordBatch]:
        """What the database answers (`open_database` has its relations); tables given by name can be asked too."""
        with self._blaming_files(), self._database.cursor() as cursor:
            for name, table in tables.items():
                cursor.register(name, table)
            yield from cursor.sql(sql).to_arrow_reader(_BATCH)

    def rows(self, sql: str, **tables: pa.Table) -> Iterator[dict[str, Any]]:
        """The same, row by row."""
        for batch in self.batches(sql, **tables):
            yield from batch.to_pylist()

    def row(self, sql: str) -> dict[str, Any]:
        """The one row of an answer."""
        (row,) = self.rows(sql)
        return row

    @cached_property
    def media(self) -> pa.Table:
        """MEDIA, sorted by path."""
        return read_table(join(self.folder, "media.parquet"))

    @cached_property
    def predictions(self) -> pa.Table:
        """OBSERVATION, as the model has them, those set aside too."""
        return read_table(join(self.folder, "observations.parquet"))

    @cached_property
    def observations(self) -> pa.Table:
        """The predictions with what people said of them, less what is set aside: `schemas.reviewed`."""
        return apply(self.predictions, read_reviews(self.folder)).filter(field("set_aside").is_null())

    def named(self) -> pa.Table:
        """The predictions, each box called what its event calls it."""
        return under_standing_names(self.predictions, self.events["taxa"], read_reviews(self.folder), self._repooled)

    @cached_property
    def _repooled(self) -> pa.Table:
        """None where an earlier version named."""
        place = join(self.folder, REPOOLED_FILE)
        return read_table(place) if exists(place) else REPOOLED.empty_table()

    @cached_property
    def events(self) -> pa.Table:
        """EVENT."""
        return read_table(join(self.folder, "events.parquet"))

    @cached_property
    def _database(self) -> duckdb.DuckDBPyConnection:
        with self._blaming_files():
            folder = Path(self._fetched.name if is_remote(self.folder) else self.folder)
            return open_database(folder, read_reviews(self.folder), self._repooled)

    @contextmanager
    def _blaming_files(self) -> Iterator[None]:
        """Where the database gives up, see whether one of its files cannot be read, and say so: `DamagedError`."""
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError):
            for place in self._tables():
                require_whole(place)
            raise

    def is_whole(self) -> bool:
        """Whether all tables are there and end as they should."""
        return all(map(is_whole, [*self._tables(), join(self.folder, REPOOLED_FILE)]))

    def _tables(self) -> list[str]:
        return [join(self.folder, f"{name}.parquet") for name in TABLES]

    @cached_property
    def _fetched(self) -> tempfile.TemporaryDirectory[str]:
        """The tables of a run on S3, in a folder that goes with this object."""
        scratch = tempfile.TemporaryDirectory(prefix="trygon-")
        for name in TABLES:
            file = f"{name}.parquet"
            with open_input(join(self.folder, file)) as source, Path(scratch.name, file).open("wb") as target:
                shutil.copyfileobj(source, target)
        return scratch

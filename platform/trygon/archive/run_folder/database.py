"""The tables of a run as a DuckDB database, with what people said of its observations put in place.

Reviews are few beside predictions: the rows of the events that they touch are judged by `reviews.apply`, all others
come out of the Parquet files as they lie. What DuckDB sorts and cannot hold in memory goes to the disk.
"""

import glob
import tempfile
import uuid
from collections.abc import Iterable
from itertools import groupby, islice
from pathlib import Path

import duckdb
import pyarrow as pa
from pyarrow.dataset import field

from trygon.archive.naming.counts import count_rows
from trygon.archive.naming.repooling import under_standing_names
from trygon.archive.run_folder.reviews import apply, standing
from trygon.schemas import EVENT_TAXON, OBSERVATION, REVIEWED
from trygon.taxonomy.taxon import RANKS

TAXON = "concat_ws(';', coalesce(scientific, ''), " + ", ".join(f"coalesce(\"{rank}\", '')" for rank in RANKS) + ")"
"""A taxon by its whole lineage, in SQL: names repeat."""

KEY = f"concat_ws(';', type, {TAXON})"
"""What is counted apart: a type, and a taxon where there is one."""

TABLES = ("media", "detections", "observations", "events", "failures")
"""Each is a Parquet file of its name in the run folder, with the columns of `trygon.schemas`."""

_MEMORY = "2GB"
_BATCH = 10_000
_LISTS = [it.name for it in OBSERVATION if pa.types.is_list(it.type)]
"""Columns that no count asks for, and that take the most room."""
_TOUCHED = """
FROM predictions WHERE event_id IN (
    SELECT event_id FROM predictions WHERE observation_id IN (SELECT unnest(observation_ids) FROM reviews)
)
"""
_OBSERVATIONS = """
CREATE VIEW observations AS
FROM predictions WHERE set_aside IS NULL AND media_id NOT IN (SELECT media_id FROM judged)
UNION ALL BY NAME
FROM judged WHERE set_aside IS NULL
"""
_EVENT_TAXA = """
CREATE VIEW event_taxa AS
SELECT * EXCLUDE taxon, unnest(taxon) FROM (
    SELECT * EXCLUDE taxa, unnest(taxa) AS taxon, generate_subscripts(taxa, 1) - 1 AS number
    FROM events WHERE event_id NOT IN (SELECT event_id FROM counted)
)
UNION ALL BY NAME
SELECT events.* EXCLUDE taxa, counted.* EXCLUDE event_id FROM counted JOIN events USING (event_id)
"""
_SIGHTINGS = """
CREATE VIEW sightings AS
SELECT observations.*, path, deployment, timestamp, decoded_share,
    detections.* EXCLUDE (detection_id, media_id, frame_number)
FROM observations JOIN media USING (media_id) LEFT JOIN detections USING (detection_id)
"""
_COUNTED = pa.schema(
    [OBSERVATION.field("event_id"), pa.field("number", pa.int64(), nullable=False), *EVENT_TAXON, *REVIEWED]
)


def columns(names: Iterable[str]) -> str:
    """Columns by their names in SQL, where `order` is a word."""
    return ", ".join(f'"{name}"' for name in names)


def open_database(folder: Path, reviews: pa.Table, repooled: pa.Table) -> duckdb.DuckDBPyConnection:
    """A database of the Parquet files in a folder of this machine and of REVIEW and REPOOLED rows.

    Its relations: `media`, `detections`, `events` and `failures` as they lie; `predictions`, which are all rows of
    `observations.parquet`; `observations`, less what is set aside and with what people said (`schemas.reviewed`);
    `sightings`, these with their frame's path, deployment, timestamp and decoded share and their detection's columns;
    and `event_taxa`, a row an event and taxon with `number` and the fields of EVENT_TAXON and of a review.
    """
    # DuckDB makes the folder when it needs it, and removes it.
    overflow = Path(tempfile.gettempdir(), f"trygon-{uuid.uuid4().hex}")
    database = duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": str(overflow)})
    for name in TABLES:
        place = glob.escape(str(folder / f"{name}.parquet")).replace("'", "''")
        view = "predictions" if name == "observations" else name
        database.execute(f"CREATE VIEW {view} AS FROM read_parquet('{place}')")
    database.execute("SET GLOBAL TimeZone = 'UTC'")  # without GLOBAL, cursors have the machine's
    # Tables, not Arrow's memory under a name: that is of one cursor alone.
    _keep(database, "reviews", standing(reviews))
    touched = database.sql(_TOUCHED).to_arrow_table().cast(OBSERVATION)
    _keep(database, "judged", apply(touched, reviews))
    database.execute(_OBSERVATIONS)
    taxa = database.sql("SELECT taxa FROM events WHERE event_id IN (SELECT event_id FROM judged)").to_arrow_table()
    slim = touched.drop_columns(_LISTS)
    named = apply(under_standing_names(slim, taxa["taxa"], reviews, repooled), reviews)
    _keep(database, "counted", _counted(named))
    database.execute(_EVENT_TAXA)
    database.execute(_SIGHTINGS)
    return database


def _keep(database: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    database.register("given", table)
    database.execute(f"CREATE TABLE {name} AS FROM given")
    database.unregister("given")


def _counted(observations: pa.Table) -> pa.Table:
    """What the events held of which a person said something: their pooled taxa do not know of it. What nobody named
    counts as what its event calls it. Rows become Python's some at a time: they take far more memory than a table, and
    meanwhile no other thread runs, such as the one that renews the lease."""
    order = [("event_id", "ascending"), ("observation_id", "ascending")]
    ordered = observations.filter(field("set_aside").is_null()).sort_by(order)
    rows = (row for batch in ordered.to_batches(max_chunksize=_BATCH) for row in batch.to_pylist())
    counted = (
        taxon | {"event_id": event_id, "number": number}
        for event_id, group in groupby(rows, key=lambda row: row["event_id"])
        for number, taxon in enumerate(count_rows(list(group)))
    )
    some = iter(lambda: list(islice(counted, _BATCH)), [])
    tables = (pa.Table.from_pylist(taxa, _COUNTED) for taxa in some)
    return pa.concat_tables([_COUNTED.empty_table(), *tables])

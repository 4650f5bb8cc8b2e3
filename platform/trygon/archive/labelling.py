"""From committed parts to the tables and counts of a run: events and observations. Reads no picture."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.dataset import field

from trygon.archive.events import find_events
from trygon.archive.listing import MediaFile
from trygon.archive.observations import observe
from trygon.archive.parts import Parts
from trygon.archive.pooling import pool_events
from trygon.archive.run import Run
from trygon.labelling.classification import Classifier
from trygon.lease import Hold
from trygon.mirror import made_here
from trygon.schemas import BOX, EVENT, FAILURE, OBSERVATION

_LAST = "observations.parquet"


def finish(
    folder: str | Path,
    files: Sequence[MediaFile],
    classifier: Classifier,
    gap_s: float,
    about: dict[str, Any],
    hold: Hold,
) -> Run:
    """Write media, events and observations of the listed files from what the parts hold.

    The summary of what is returned has their counts, and with them `about`, what the tables do not say. Its file is
    the caller's to write, when all is there.
    """
    parts = Parts(folder)
    media = parts.media({file.media_id for file in files})
    assert media.num_rows == len(files), "every listed file is in exactly one part"
    events, event_of = find_events(media, gap_s)
    with made_here(folder, _LAST, hold) as here:
        _stream(here / "media.parquet", media.schema, [media])
        _stream(here / "failures.parquet", FAILURE, [_failures(media)])
        _stream(here / "detections.parquet", BOX, _boxes(parts, media))
        _stream(here / _LAST, OBSERVATION, observe(parts, event_of, classifier))
        pooled = dict(pool_events(pq.read_table(here / _LAST)))
        taxa = pa.array([pooled[event_id] for event_id in events["event_id"].to_pylist()], EVENT.field("taxa").type)
        events = events.set_column(events.column_names.index("taxa"), EVENT.field("taxa"), taxa)
        _stream(here / "events.parquet", EVENT, [events])
    run = Run(folder)
    run.summary.update(_count(run) | about)
    return run


def _stream(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in tables:
            if table.num_rows:
                writer.write_table(table.cast(schema))


def _failures(media: pa.Table) -> pa.Table:
    """FAILURE rows of MEDIA rows."""
    failed = media.filter(field("failure").is_valid())
    return failed.rename_columns({"failure": "reason"}).select(FAILURE.names)


def _boxes(parts: Parts, media: pa.Table) -> Iterator[pa.Table]:
    """The detections in these frames, without their vectors: a part may hold frames that the archive lost."""
    known = np.sort(media["media_id"].to_numpy())
    for table in parts.detections(BOX.names):
        ids = table["media_id"].to_numpy()
        found = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        yield table.filter(pa.array(known[found] == ids)) if len(ids) and len(known) else table.slice(0, 0)


_COUNTS = """
SELECT
    (SELECT count(*) FROM media) AS num_files,
    (SELECT coalesce(sum(bytes), 0)::BIGINT FROM media) AS num_bytes,
    (SELECT count(*) FROM failures) AS num_failed,
    (SELECT count(*) FROM observations WHERE type = 'blank') AS num_blank,
    (SELECT count(DISTINCT media_id) FROM observations WHERE type = 'animal') AS num_with_animals,
    (SELECT count(*) FROM events) AS num_events,
    (SELECT count(DISTINCT deployment) FROM media) AS num_deployments,
    (SELECT count(DISTINCT scientific) FROM observations) AS num_taxa,
    (SELECT count(digest) - count(DISTINCT digest) FROM media WHERE bytes > 0) AS num_copies
"""


def _count(run: Run) -> dict[str, Any]:
    """Copies are files whose content another file before them has too, empty ones aside."""
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **run.row(_COUNTS),
        "num_observations": _tally(run, "SELECT type FROM observations"),
        "num_animals_by_rank": _tally(run, "SELECT coalesce(rank, 'none') FROM observations WHERE type = 'animal'"),
        "failures": _tally(run, "SELECT reason FROM failures"),
    }


def _tally(run: Run, values: str) -> dict[str, int]:
    """How many of each value, the most frequent first."""
    counts = run.rows(
        f"SELECT value, count(*) AS num FROM ({values}) t(value) GROUP BY value ORDER BY num DESC, value"
    )
    return {row["value"]: row["num"] for row in counts}

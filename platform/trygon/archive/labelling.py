"""From committed parts to the tables and counts of a run: events and observations. Reads no picture."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
from trygon.schemas import EVENT, OBSERVATION

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


def _count(run: Run) -> dict[str, Any]:
    types = Counter(run.observations["type"].to_pylist())
    failures = Counter(reason for reason in run.media["failure"].to_pylist() if reason)
    blank = set(run.observations.filter(field("type") == "blank")["media_id"].to_pylist())
    sizes = (row for row in run.media["bytes"].to_pylist() if row)
    animals = run.observations.filter(field("type") == "animal")
    ranks = Counter(rank or "none" for rank in animals["rank"].to_pylist())
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "num_files": run.media.num_rows,
        "num_bytes": sum(sizes),
        "num_failed": sum(failures.values()),
        "num_blank": len(blank),
        "num_with_animals": len(set(animals["media_id"].to_pylist())),
        "num_observations": dict(types.most_common()),
        "num_events": run.events.num_rows,
        "num_deployments": len(set(run.media["deployment"].to_pylist())),
        "num_taxa": len({name for name in run.observations["scientific"].to_pylist() if name}),
        "num_animals_by_rank": dict(ranks.most_common()),
        "failures": dict(failures.most_common()),
        "num_copies": _count_copies(run.media),
    }


def _count_copies(media: pa.Table) -> int:
    """Files whose content another file before them has too, empty ones aside."""
    digests = media.filter(field("bytes") > 0)["digest"].drop_null().to_pylist()
    return len(digests) - len(set(digests))

"""From committed parts to the finished run folder: events, observations, tables and counts. Reads no picture."""

import os
import tempfile
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
from trygon.archive.run import Run
from trygon.labelling.classification import Classifier
from trygon.schemas import OBSERVATION
from trygon.storage import copy_file, is_remote, join, write_json


def finish(folder: str | Path, files: Sequence[MediaFile], classifier: Classifier, gap_s: float) -> Run:
    """Write media, events and observations of the listed files from what the parts hold."""
    parts = Parts(folder)
    media = parts.media({file.media_id for file in files})
    assert media.num_rows == len(files), "every listed file is in exactly one part"
    write_table(join(folder, "media.parquet"), media.schema, [media])
    events, event_of = find_events(media, gap_s)
    write_table(join(folder, "events.parquet"), events.schema, [events])
    write_table(join(folder, "observations.parquet"), OBSERVATION, observe(parts, event_of, classifier))
    return Run(folder)


def write_table(place: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Stream tables into a Parquet file that appears when it is whole."""
    if is_remote(place):
        with tempfile.NamedTemporaryFile(prefix="trygon-") as file:
            _stream(Path(file.name), schema, tables)
            return copy_file(Path(file.name), place)
    path = Path(place)
    scratch = path.with_name(f".{path.name}.unfinished")
    try:
        _stream(scratch, schema, tables)
        return os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _stream(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in tables:
            if table.num_rows:
                writer.write_table(table.cast(schema))


def summarise(run: Run, about: dict[str, Any]) -> dict[str, Any]:
    """Counts of what the tables hold, written as `summary.json`. `about` says what the tables do not."""
    types = Counter(run.observations["type"].to_pylist())
    failures = Counter(reason for reason in run.media["failure"].to_pylist() if reason)
    blank = set(run.observations.filter(field("type") == "blank")["media_id"].to_pylist())
    sizes = (row for row in run.media["bytes"].to_pylist() if row)
    animals = run.observations.filter(field("type") == "animal")
    ranks = Counter(rank or "none" for rank in animals["rank"].to_pylist())
    summary = {
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
        **about,
    }
    write_json(join(run.folder, "summary.json"), summary)
    return summary


def count_copies(media: pa.Table) -> int:
    """Files whose content another file before them has too, empty ones aside."""
    digests = media.filter(field("bytes") > 0)["digest"].drop_null().to_pylist()
    return len(digests) - len(set(digests))

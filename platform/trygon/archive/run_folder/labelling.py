"""From committed parts to the tables and counts of a run: events and observations. Reads no picture."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from dataclasses import field as default
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from pyarrow.dataset import field

from trygon.archive.detection.detector import Thresholds
from trygon.archive.naming.boxes import Boxes, sure_enough
from trygon.archive.naming.events import Events, find_events
from trygon.archive.naming.namer import Namer
from trygon.archive.naming.observations import observe
from trygon.archive.naming.pooling import Pool
from trygon.archive.naming.repeats import Repeat, find_repeats
from trygon.archive.naming.repooling import repool
from trygon.archive.run_folder.database import TAXON
from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.reviews import read_reviews
from trygon.archive.run_folder.run import REPEATS, REPOOLED_FILE, Run
from trygon.ids import Ids
from trygon.labelling.classification import Classifier
from trygon.lease import Hold
from trygon.mirror import made_here
from trygon.schemas import BOX, EVENT, FAILURE, OBSERVATION, REPOOLED

_LAST = "observations.parquet"
_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class Naming:
    """How stored vectors become observations and events."""

    classifier: Classifier
    gap_s: float = 60
    """The longest pause within an event."""
    repeats: int = 20
    """Frames of a deployment with the same box from which on it is set aside; 0 for never."""
    thresholds: Thresholds = default(default_factory=dict)
    """The least confidence at which a stored box of a category counts; of others all do."""


def finish(folder: str | Path, media: pa.Table, naming: Naming, about: dict[str, Any], hold: Hold) -> Run:
    """Write media, events and observations of these frames (MEDIA rows) from what the parts hold of them.

    The summary of what is returned has their counts, and with them `about`, what the tables do not say. Its file is
    the caller's to write, when all is there.
    """
    parts = Parts(folder)
    events = find_events(media, naming.gap_s)
    namer = Namer(naming.classifier)
    with made_here(folder, _LAST, hold) as here:
        _stream(here / "media.parquet", media.schema, [media])
        _stream(here / "failures.parquet", FAILURE, [_failures(media)])
        _stream(here / "detections.parquet", BOX, _boxes(parts, media, naming.thresholds))
        boxes, _ = Boxes.of(pq.read_table(here / "detections.parquet"), events)
        repeats = find_repeats(boxes, events, naming.repeats)
        pyarrow.csv.write_csv(_repeats_table(repeats, boxes, events, media), here / REPEATS)
        repeated = np.concatenate([np.empty(0, np.int64), *(boxes.detection_M[it.rows] for it in repeats)])
        counting = boxes.take(np.flatnonzero(~np.isin(boxes.detection_M, repeated)))
        del boxes, repeats
        pool = Pool(namer, events, counting.frame_M)
        del counting
        detections = (sure_enough(table, naming.thresholds) for table in parts.detections())
        _stream(here / _LAST, OBSERVATION, observe(detections, events, namer, repeated, pool))
        taxa = pool.taxa()
        _stream(here / "events.parquet", EVENT, [events.table.append_column(EVENT.field("taxa"), taxa)])
        again = repool(parts, here / _LAST, events, taxa, namer, read_reviews(folder))
        _stream(here / REPOOLED_FILE, REPOOLED, [again])
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


def _boxes(parts: Parts, media: pa.Table, thresholds: Thresholds) -> Iterator[pa.Table]:
    """The detections in these frames that are sure enough, without their vectors: a part may hold frames that the
    archive lost."""
    known = Ids(media["media_id"].to_numpy())
    for table in (sure_enough(each, thresholds) for each in parts.detections(BOX.names)):
        yield table.filter(pa.array(known.positions(table["media_id"].to_numpy()) >= 0))


def _repeats_table(repeats: Sequence[Repeat], boxes: Boxes, events: Events, media: pa.Table) -> pa.Table:
    """A row a repeated box, the most frequent first, with the paths of some of its frames."""
    rows = []
    for it in sorted(repeats, key=lambda it: -it.num_frames):
        frames = np.unique(boxes.frame_M[it.rows])
        some = frames[np.unique(np.linspace(0, len(frames) - 1, _NUM_EXAMPLES).astype(int))]
        shown = [media["path"][pc.index(media["media_id"], one).as_py()].as_py() for one in events.media_F[some]]
        left, top, right, bottom = (round(float(edge), 4) for edge in it.corner_4)
        rows.append(
            {
                "deployment": events.table["deployment"][int(events.event_F[frames[0]])].as_py(),
                "num_frames": it.num_frames,
                "num_events": it.num_events,
                **{"x": left, "y": top, "width": round(right - left, 4), "height": round(bottom - top, 4)},
                "examples": "; ".join(shown),
            }
        )
    return pa.Table.from_pylist(rows, _REPEATS)


_REPEATS = pa.schema(
    [
        *(("deployment", pa.string()), ("num_frames", pa.int64()), ("num_events", pa.int64())),
        *((name, pa.float64()) for name in ("x", "y", "width", "height")),
        ("examples", pa.string()),
    ]
)


_COUNTS = f"""
SELECT
    (SELECT count(*) FROM media) AS num_files,
    (SELECT coalesce(sum(bytes), 0)::BIGINT FROM media) AS num_bytes,
    (SELECT count(*) FROM failures) AS num_failed,
    (SELECT count(clock) FROM media) AS num_wrong_clock,
    (SELECT count(*) FROM observations WHERE type = 'blank') AS num_blank,
    (SELECT count(DISTINCT media_id) FROM observations WHERE type = 'animal') AS num_with_animals,
    (SELECT count(*) FROM events) AS num_events,
    (SELECT count(DISTINCT deployment) FROM media) AS num_deployments,
    (SELECT count(DISTINCT {TAXON}) FROM observations WHERE scientific IS NOT NULL) AS num_taxa,
    (SELECT count(digest) - count(DISTINCT digest) FROM media WHERE bytes > 0) AS num_copies
"""


def _count(run: Run) -> dict[str, Any]:
    """Copies are files whose content another file before them has too, empty ones aside."""
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **run.row(_COUNTS),
        "num_observations": _tally(run, "SELECT type FROM observations"),
        "num_set_aside": _tally(run, "SELECT set_aside FROM predictions WHERE set_aside IS NOT NULL"),
        "num_decided_by": _tally(run, "SELECT decided_by FROM observations"),
        "num_animals_by_rank": _tally(run, "SELECT coalesce(rank, 'none') FROM observations WHERE type = 'animal'"),
        "failures": _tally(run, "SELECT reason FROM failures"),
    }


def _tally(run: Run, values: str) -> dict[str, int]:
    """How many of each value, the most frequent first."""
    counts = run.rows(
        f"SELECT value, count(*) AS num FROM ({values}) t(value) GROUP BY value ORDER BY num DESC, value"
    )
    return {row["value"]: row["num"] for row in counts}

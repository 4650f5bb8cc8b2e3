"""Stored vectors to observations. Reads no picture: the same detections can be named again with other labels."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from trygon.archive.parts import Parts
from trygon.labelling.classification import Answer, Classifier
from trygon.schemas import OBSERVATION
from trygon.storage import stable_id
from trygon.taxonomy.taxon import RANKS, Taxon

_TYPES = {"animal": "animal", "person": "human", "human": "human", "vehicle": "vehicle"}
"""Detector categories in Camtrap DP's words. Anything else is an animal if it gets a name, and else unknown."""

_SCORES_PER_CHUNK = 20_000_000
"""Probabilities held at once: vectors are named in chunks of this many divided by the number of taxa."""


def observe(parts: Parts, event_of: dict[int, int], classifier: Classifier) -> Iterator[pa.Table]:
    """OBSERVATION rows: one a detection, one a frame without any, none for a file that could not be read.

    `event_of` maps the frames that count to their events.
    """
    blank = set(event_of)
    chunk = max(1, _SCORES_PER_CHUNK // len(classifier.bank.tree))
    for table in parts.detections():
        for batch in table.to_batches(max_chunksize=chunk):
            rows = [row for row in name_detections(batch, classifier) if row["media_id"] in event_of]
            blank.difference_update(row["media_id"] for row in rows)
            yield _table([row | {"event_id": event_of[row["media_id"]]} for row in rows])
    yield _table([_blank(media_id, event_of[media_id]) for media_id in sorted(blank)])


def name_detections(batch: pa.RecordBatch, classifier: Classifier) -> list[dict[str, Any]]:
    """Rows of OBSERVATION, without their events, of rows of DETECTION."""
    if not batch.num_rows:
        return []
    flat = batch["vector"].flatten().to_numpy(zero_copy_only=False)
    answers = classifier.classify(flat.reshape(batch.num_rows, -1).astype(np.float32))
    rows = batch.select(["detection_id", "media_id", "category"]).to_pylist()
    return [_named(row, answer) for row, answer in zip(rows, answers, strict=True)]


def _named(row: dict[str, Any], answer: Answer) -> dict[str, Any]:
    kind = _TYPES.get(row["category"]) or ("animal" if answer.taxon else "unknown")
    ids = {
        "observation_id": stable_id("observation", str(row["detection_id"])),
        "media_id": row["media_id"],
        "detection_id": row["detection_id"],
        "type": kind,
        "decided_by": _decided_by(kind, answer),
    }
    return ids if kind in ("human", "vehicle") else ids | _names(answer)


def _decided_by(kind: str, answer: Answer) -> str:
    if kind in ("human", "vehicle") or answer.taxon is None:
        return "detector"
    return "classifier" if answer.rank == answer.ranks[-1][0].rank else "rollup"


def _names(answer: Answer) -> dict[str, Any]:
    scores = {
        "rank_probabilities": [probability for _, probability in answer.ranks],
        "top_scientific": [taxon.scientific for taxon, _ in answer.top],
        "top_probability": [probability for _, probability in answer.top],
    }
    if answer.taxon is None or answer.rank is None:
        return scores
    taxon = answer.taxon
    return scores | {
        "rank": str(answer.rank),
        **_lineage(taxon),
        "scientific": taxon.scientific,
        "common": taxon.common or None,
        "probability": answer.probability,
    }


def _lineage(taxon: Taxon) -> dict[str, str | None]:
    return {rank: name or None for rank, name in zip(RANKS, taxon.lineage, strict=True)}


def _blank(media_id: int, event_id: int) -> dict[str, Any]:
    return {
        "observation_id": stable_id("observation", "blank", str(media_id)),
        "media_id": media_id,
        "event_id": event_id,
        "type": "blank",
        "decided_by": "detector",
    }


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, OBSERVATION)

"""Search in a run: the observations whose vectors are nearest to another one's, a picture's or a text's.

The index lies in the run folder, is made by the first search, and again when the run holds other vectors. Names and
filters are those of the observations as they are now, reviewed ones included. Knows nothing of how an index works.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.run import Run
from trygon.disk import only_writer, writing_to
from trygon.errors import UserError
from trygon.ids import Ids
from trygon.labelling.search import VectorIndex
from trygon.lease import HeldError
from trygon.mirror import local_folder, made_here
from trygon.storage import digest_texts, exists, join, list_folder, read_json, write_json
from trygon.taxonomy.taxon import RANKS

_FOLDER, _CARD = "search", "index.json"
_NAMED = (*RANKS[:-1], "scientific", "common")
_LOOK_S = 1.0


@dataclass(frozen=True)
class Filters:
    """What may be found; nothing is left out where a field is blank. Times are the cameras' own."""

    deployments: tuple[str, ...] = ()
    taxa: tuple[str, ...] = ()
    after: datetime | None = None
    before: datetime | None = None


@dataclass(frozen=True)
class Hit:
    """An observation, its row in the table that was searched, and the cosine of its vector to the query's."""

    observation_id: int
    row: int
    cosine: float


class RunSearch:
    """The vectors of a run beside its observations: those given (`Run.observations`, or the predictions)."""

    def __init__(
        self, run: Run, observations: pa.Table, progress: Callable[[int, int], None] = lambda num, total: None
    ) -> None:
        self._run, self._table = run, observations
        self._index = open_index(run, progress)
        self._observation_M = observations["observation_id"].to_numpy()

    @cached_property
    def _row_N(self) -> np.ndarray:
        """The observation of each vector, -1 where there is none (any more): (N,) int64."""
        return Ids(self._detection_M).positions(np.asarray(self._index.id_N))

    @cached_property
    def _detection_M(self) -> np.ndarray:
        """The detection of each observation, -1 where it has none: (M,) int64."""
        return self._table["detection_id"].fill_null(-1).to_numpy()

    def vector_of(self, some_id: int) -> np.ndarray:
        """The vector (D,) of an observation or detection. `UserError` where there is none."""
        row = self._index.row(some_id)
        if row is None:
            at = np.flatnonzero(self._observation_M == some_id)
            if at.size:
                row = self._index.row(int(self._detection_M[at[0]]))
        if row is None:
            raise UserError(f"--observation {some_id}: the run has no observation of that id with a vector")
        return self._index.vector(row)

    def allowed(self, filters: Filters) -> np.ndarray:
        """Which vectors pass: (N,) bool. `UserError` for a name that no observation has."""
        row_N = self._row_N
        passes_M = passing(self._run.media, self._table, filters)
        return (row_N >= 0) & passes_M[np.maximum(row_N, 0)] if len(passes_M) else np.zeros(len(row_N), bool)

    def nearest(self, vector_D: np.ndarray, k: int, allowed_N: np.ndarray) -> list[Hit]:
        """The K nearest observations of those allowed, best first. A few milliseconds for a million."""
        found = self._index.nearest(vector_D, k, allowed_N)
        rows = [(int(self._row_N[row]), cosine) for row, cosine in found]
        return [Hit(int(self._observation_M[row]), row, cosine) for row, cosine in rows]


def passing(media: pa.Table, table: pa.Table, filters: Filters) -> np.ndarray:
    """Which observations of a table pass: (M,) bool. `UserError` for a name that none has."""
    mask_M = np.ones(table.num_rows, bool)
    if filters.taxa:
        masks = {name: _called(table, name) for name in filters.taxa}
        _require("--taxon", masks, "no observation of the run has that name")
        mask_M &= np.logical_or.reduce(list(masks.values()))
    if filters.deployments or filters.after or filters.before:
        at_M = Ids(media["media_id"].to_numpy()).positions(table["media_id"].to_numpy())
        mask_M &= _media_passing(media, filters)[at_M]
    return mask_M


def _media_passing(media: pa.Table, filters: Filters) -> np.ndarray:
    mask = np.ones(media.num_rows, bool)
    if filters.deployments:
        masks = {name: _true(pc.equal(media["deployment"], name)) for name in filters.deployments}
        _require("--deployment", masks, "the run has no deployment of that name")
        mask &= np.logical_or.reduce(list(masks.values()))
    if filters.after:
        mask &= _true(pc.greater_equal(media["timestamp"], pa.scalar(filters.after, pa.timestamp("s"))))
    if filters.before:
        mask &= _true(pc.less(media["timestamp"], pa.scalar(filters.before, pa.timestamp("s"))))
    return mask


def _called(table: pa.Table, name: str) -> np.ndarray:
    """Observations that bear a name at any rank, or as common name, in any case."""
    wanted = name.strip().lower()
    columns = (table[column].combine_chunks().dictionary_encode() for column in _NAMED)
    found = np.zeros(table.num_rows, bool)
    for column in columns:
        codes = np.flatnonzero(_true(pc.equal(pc.utf8_lower(column.dictionary), wanted)))
        found |= np.isin(column.indices.fill_null(-1).to_numpy(zero_copy_only=False), codes)
    return found


def _require(option: str, masks: dict[str, np.ndarray], problem: str) -> None:
    for name, mask in masks.items():
        if not mask.any():
            raise UserError(f"{option} {name}: {problem}")


def _true(array: Any) -> np.ndarray:
    return np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), bool)


def open_index(run: Run, progress: Callable[[int, int], None] = lambda num, total: None) -> VectorIndex:
    """The index of a run's vectors, made where there is none of these, or waited for where another process makes it.
    `progress` is told how many more are in it, and of how many. `UserError` for a run without vectors."""
    place, key = join(run.folder, _FOLDER), _key(run.folder)
    while not _stands(place, key):
        try:
            _make_index(run, place, key, progress)
        except HeldError:  # as where several replicas start: the first one makes it for all
            time.sleep(_LOOK_S)
    return VectorIndex.load(local_folder(place))


def _make_index(run: Run, place: str, key: str, progress: Callable[[int, int], None]) -> None:
    with writing_to(run.folder, "run folder"), only_writer(place) as hold:
        if _stands(place, key):
            return
        with made_here(place, _CARD, hold) as folder:
            num, dim = _build(run, folder, progress)
            write_json(folder / _CARD, {"vectors": key, "num_vectors": num, "dim": dim})


def _key(folder: str | Path) -> str:
    """What tells that a run holds other vectors: its committed parts, which are written once."""
    files = list_folder(join(folder, "vectors"), suffix=".parquet")
    return digest_texts(f"{file.name} {file.bytes} {file.etag}" for file in files)


def _stands(place: str, key: str) -> bool:
    with suppress(UserError):
        return exists(join(place, _CARD)) and read_json(join(place, _CARD)).get("vectors") == key
    return False


def _build(run: Run, folder: Path, progress: Callable[[int, int], None]) -> tuple[int, int]:
    parts, num, dim = Parts(run.folder), 0, 0
    for id_B, vector_BD in _batches(parts):
        num += len(id_B)
        dim = vector_BD.shape[1]
    if not num:
        raise UserError(f"{run.folder} holds no vectors to search in: nothing was detected")
    VectorIndex.build(folder, lambda: _batches(parts), dim, num, lambda done: progress(done, num))
    return num, dim


def _batches(parts: Parts) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for table in parts.detections(["detection_id", "vector"]):
        table = table.filter(pc.is_valid(table["vector"]))
        if table.num_rows:
            flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            yield table["detection_id"].to_numpy(), flat.reshape(table.num_rows, -1)


def rows_of_hits(run: Run, hits: list[Hit]) -> list[dict[str, Any]]:
    """What was found in `Run.observations`, with the frames' own columns, for tables that people read."""
    columns = ["observation_id", "media_id", "event_id", "type", "scientific", "common", "rank", "probability"]
    found = run.observations.select([*columns, "reviewed_by"]).take(pa.array([hit.row for hit in hits], pa.int64()))
    rows = found.to_pylist()
    media_ids = np.asarray([row["media_id"] for row in rows], np.int64)
    at = Ids(run.media["media_id"].to_numpy()).positions(media_ids)
    media = run.media.select(["path", "deployment", "timestamp"]).take(pa.array(at)).to_pylist()
    cosines = ({"cosine": hit.cosine} for hit in hits)
    return [cosine | row | frame for cosine, row, frame in zip(cosines, rows, media, strict=True)]

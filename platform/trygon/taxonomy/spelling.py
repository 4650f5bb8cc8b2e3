"""Names that are nearly the same: Latin endings, and the edits between two words. Knows nothing of ranks."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rapidfuzz.distance import OSA
from rapidfuzz.process import cdist

MAX_EDITS = 2
_MAX_CELLS = 4_000_000
"""Of one matrix of distances: 4 MB."""


def stems(names: pa.StringArray) -> pa.StringArray:
    """Names without the endings that vary: albus, alba and album have the same stem; smithi and smithii too.

    The first follow the gender of the genus, and the codes take the others for one name (ICZN 33.4, ICN 60.8).
    """
    names = pc.replace_substring_regex(names, r"^(.{2,})i(i|ae)$", r"\1\2")
    # niger, nigra, nigrum; then albus, alba, album and viridis, viride.
    stem = pc.replace_substring_regex(names, r"^(.{3,})(?:er|ra|rum)$", r"\1r")
    return pc.replace_substring_regex(stem, r"^(.{3,})(?:us|um|is|a|e)$", r"\1")


def allowed_edits(lengths: np.ndarray) -> np.ndarray:
    """How many edits a name of some letters may be away, as in a slip of the pen: (N,) to (N,) int64.

    Short names differ by one letter as a rule, and long ones by none.
    """
    return np.select([lengths < 5, lengths < 9], [0, 1], MAX_EDITS)


def near(
    queries: Sequence[str], query_groups: np.ndarray, candidates: Sequence[str], starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The candidates within the allowed edits of each query, both by position, and the edits: three (P,) arrays.

    A query is compared with the candidates from `starts[g]` to `ends[g]` of its group g. The distance is the optimal
    string alignment's: a letter more, less, another one, or two neighbours swapped.
    """
    limits = allowed_edits(np.fromiter(map(len, queries), np.int64, len(queries)))
    order = np.argsort(query_groups, kind="stable")
    order = order[limits[order] > 0]
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for members in np.split(order, np.flatnonzero(np.diff(query_groups[order])) + 1):
        if not len(members):
            continue
        group = query_groups[members[0]]
        start, end = int(starts[group]), int(ends[group])
        for rows in _chunks(members, end - start):
            words = [queries[row] for row in rows.tolist()]
            distances = cdist(
                words, candidates[start:end], scorer=OSA.distance, score_cutoff=MAX_EDITS, dtype=np.uint8
            )
            query, candidate = np.nonzero(distances <= limits[rows][:, None])
            found.append((rows[query], candidate + start, distances[query, candidate].astype(np.int64)))
    if not found:
        nothing = np.empty(0, np.int64)
        return nothing, nothing, nothing
    query, candidate, edits = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return query, candidate, edits


def _chunks(rows: np.ndarray, width: int) -> Iterator[np.ndarray]:
    size = max(1, _MAX_CELLS // max(1, width))
    return (rows[start : start + size] for start in range(0, len(rows), size) if width)

"""What the events of a run held, a row a taxon: as labelling pooled it, or counted anew where a person named any."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyarrow.dataset import field

from trygon.archive.rows import rows_of
from trygon.taxonomy.taxon import RANKS

_Lineage = tuple[str, ...]
_BY_PEOPLE = ("event_count", "life_stage", "sex", "reviewed_by", "reviewed_at")
_UNSEEN = dict.fromkeys(_BY_PEOPLE)
_COLUMNS = [
    *("media_id", "event_id", "type", "rank", *RANKS, "scientific", "common", "probability", "decided_by"),
    *_BY_PEOPLE,
]


def count_events(events: pa.Table, observations: pa.Table) -> Iterator[dict[str, Any]]:
    """A row for every event and taxon that it held: event_id, number, the fields of EVENT's `taxa`, a person's fields.

    `observations` are those of `schemas.reviewed`. An event of which a person named something is counted from them:
    the count is what the person gave, or the largest number seen in one frame. A blank event is a row without a count.
    """
    again = dict(_reviewed(observations))
    for row in rows_of(events.select(["event_id", "taxa"])):
        taxa = count_rows(again[row["event_id"]]) if row["event_id"] in again else row["taxa"]
        for number, taxon in enumerate(taxa):
            yield _UNSEEN | taxon | {"event_id": row["event_id"], "number": number}


def _reviewed(observations: pa.Table) -> Iterable[tuple[int, list[dict[str, Any]]]]:
    """The rows of those events of which a person named something."""
    ids = observations.filter(field("reviewed_by").is_valid())["event_id"].combine_chunks().unique()
    groups = defaultdict(list)
    for row in rows_of(observations.select(_COLUMNS).filter(field("event_id").isin(ids))):
        groups[row["event_id"]].append(row)
    return groups.items()


def count_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the rows of one event show together, the surest first.

    A name that is only an ancestor of another name in the event (a cat and, blurred in the next frame, a carnivore) is
    taken for it. An event is blank if all its frames are. Where a person named some of what a row counts, the row is
    theirs.
    """
    seen = [row for row in rows if row["type"] != "blank"]
    if not seen:
        return [max(rows, key=_weight) | {"count": None}]
    groups = _groups(seen)
    best = {key: max(group, key=_weight) for key, group in groups.items()}
    stands_for = {key: _deepest(key, best) for key in best}
    counts: dict[tuple[str, _Lineage], Counter[int]] = defaultdict(Counter)
    for row in seen:
        counts[stands_for[_key(row)]][row["media_id"]] += 1
    given = {key: max((row["event_count"] or 0 for row in groups[key]), default=0) for key in counts}
    found = [best[key] | {"count": given[key] or max(of_frame.values())} for key, of_frame in counts.items()]
    return sorted(found, key=_weight, reverse=True)


def _weight(row: dict[str, Any]) -> tuple[bool, float]:
    """What a person said stands before what the model did."""
    return row["reviewed_by"] is not None, row["probability"] or 0.0


def _groups(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, _Lineage], list[dict[str, Any]]]:
    groups = defaultdict(list)
    for row in rows:
        groups[_key(row)].append(row)
    return groups


def _key(row: dict[str, Any]) -> tuple[str, _Lineage]:
    names = [row[rank] or "" for rank in RANKS]
    while names and not names[-1]:
        names.pop()
    return row["type"], tuple(names)


def _deepest(key: tuple[str, _Lineage], best: dict[tuple[str, _Lineage], dict[str, Any]]) -> tuple[str, _Lineage]:
    """The surest of the names that no other name of the event goes below, within this one."""
    kind, names = key
    below = [other for other in best if other[0] == kind and other[1][: len(names)] == names]
    ends = [it for it in below if not any(other != it and other[1][: len(it[1])] == it[1] for other in below)]
    return max(ends, key=lambda it: (best[it]["probability"] or 0.0, it))

"""How many of what an event held: names of one lineage are one animal, and a frame's animals are counted together."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from trygon.archive.rows import rows_of
from trygon.taxonomy.taxon import RANKS

_Lineage = tuple[str, ...]
_BY_PEOPLE = ("event_count", "life_stage", "sex", "reviewed_by", "reviewed_at")


def count_events(observations: pa.Table) -> Iterator[dict[str, Any]]:
    """A row for every event and what it held: event_id, number, type, names, count and probability.

    The count is what a person gave, or the largest number seen in one frame. A name that is only an ancestor of
    another name in the event (a cat and, blurred in the next frame, a carnivore) is taken for it. An event is blank if
    all its frames are. Where a person named some of what a row counts, the row is theirs.
    """
    columns = ["media_id", "event_id", "type", "rank", *RANKS, "scientific", "common", "probability", *_BY_PEOPLE]
    events = defaultdict(list)
    for row in rows_of(observations.select(columns)):
        events[row["event_id"]].append(row)
    for event_id, rows in events.items():
        for number, row in enumerate(_event(rows)):
            yield row | {"event_id": event_id, "number": number}


def _event(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    seen = [row for row in rows if row["type"] != "blank"]
    if not seen:
        return [max(rows, key=_weight) | {"count": 0}]
    groups = _groups(seen)
    best = {key: max(group, key=_weight) for key, group in groups.items()}
    stands_for = {key: _deepest(key, best) for key in best}
    counts: dict[tuple[str, _Lineage], Counter[int]] = defaultdict(Counter)
    for row in seen:
        counts[stands_for[_key(row)]][row["media_id"]] += 1
    given = {key: max((row["event_count"] or 0 for row in groups[key]), default=0) for key in counts}
    return [best[key] | {"count": given[key] or max(of_frame.values())} for key, of_frame in counts.items()]


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

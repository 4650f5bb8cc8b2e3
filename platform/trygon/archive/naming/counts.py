"""What one event held, a row a taxon, from its observations, and how many of a taxon some observations show."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from trygon.taxonomy.taxon import RANKS

_Lineage = tuple[str, ...]


def count_of(rows: Sequence[Mapping[str, Any]]) -> int:
    """How many individuals some rows of one taxon show: as many as a person counted, else the largest number in one
    frame. Frames of a video are frames of their own: `media_id`, `frame_number` and `event_count` are what is read."""
    given = max((row["event_count"] or 0 for row in rows), default=0)
    return given or max(Counter((row["media_id"], row["frame_number"]) for row in rows).values())


def count_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the rows of one event show together, the surest first.

    A name that is only an ancestor of another name in the event (a cat and, blurred in the next frame, a carnivore) is
    taken for it, but a person's only for a person's: what they said stays theirs, as it may contradict the finer name.
    An event is blank if all its frames are. Where a person named some of what a row counts, the row is theirs. It has
    the life stage and the sex in which all agree that have one, and `observation_ids` of what it counts.
    """
    seen = [row for row in rows if row["type"] != "blank"]
    if not seen:
        return [max(rows, key=_weight) | {"count": None, "observation_ids": []}]
    best: dict[tuple[str, _Lineage], dict[str, Any]] = {}
    for row in seen:
        key = _key(row)
        best[key] = max(best.get(key, row), row, key=_weight)
    stands_for = {key: _deepest(key, best) for key in best}
    counted = defaultdict(list)
    for row in seen:
        counted[stands_for[_key(row)]].append(row)
    found = [
        best[key]
        | {"count": count_of(rows), "observation_ids": [row["observation_id"] for row in rows]}
        | {name: _agreed(rows, name) for name in ("life_stage", "sex")}
        for key, rows in counted.items()
    ]
    return sorted(found, key=_weight, reverse=True)


def _agreed(rows: Sequence[dict[str, Any]], name: str) -> str | None:
    """What all rows say that say something; None where they differ."""
    said = {row.get(name) for row in rows} - {None}
    return said.pop() if len(said) == 1 else None


def _weight(row: dict[str, Any]) -> tuple[bool, float]:
    """What a person said stands before what the model did."""
    return row["reviewed_by"] is not None, row["probability"] or 0.0


def _key(row: dict[str, Any]) -> tuple[str, _Lineage]:
    names = [row[rank] or "" for rank in RANKS]
    while names and not names[-1]:
        names.pop()
    return row["type"], tuple(names)


def _deepest(key: tuple[str, _Lineage], best: dict[tuple[str, _Lineage], dict[str, Any]]) -> tuple[str, _Lineage]:
    """The surest of the names that no other name of the event goes below, within this one. Of a person's name, a
    person's."""
    kind, names = key
    below = [other for other in best if other[0] == kind and other[1][: len(names)] == names]
    if best[key]["reviewed_by"]:
        below = [other for other in below if best[other]["reviewed_by"]]
    ends = [it for it in below if not any(other != it and other[1][: len(it[1])] == it[1] for other in below)]
    return max(ends, key=lambda it: (best[it]["probability"] or 0.0, it))

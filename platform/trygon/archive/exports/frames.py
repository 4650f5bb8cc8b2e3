"""What other tools keep by the picture: every file of a run with what was seen in it, and names that are unique.

Knows no format.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count, groupby
from pathlib import Path
from typing import Any

from trygon.archive.run_folder.database import columns
from trygon.archive.run_folder.run import Run
from trygon.taxonomy.taxon import RANKS

_FRAMES = """
SELECT sightings.*, media.* RENAME (width AS frame_width, height AS frame_height)
FROM media LEFT JOIN (
    FROM sightings
    SELECT * EXCLUDE (path, deployment, timestamp, rank_probabilities, top_scientific, top_probability)
) AS sightings USING (media_id)
ORDER BY media.path, media.media_id, sightings.confidence DESC, sightings.observation_id
"""
_TAXA = f"""
SELECT scientific, {columns(RANKS)}, max(common) AS common, any_value(rank) AS rank
FROM observations WHERE scientific IS NOT NULL GROUP BY ALL ORDER BY ALL
"""
_WHOLE = (0.0, 0.0, 1.0, 1.0)
_RESERVED: tuple[str, ...] = ("animal", "person", "human", "vehicle", "unknown", "empty", "blank")
"""Words that formats use for something else, in lower case."""

Key = tuple[str | None, ...]


@dataclass(frozen=True)
class Frame:
    """A file: its row of MEDIA, its size in pixels as `frame_width` and `frame_height`, and its sightings.

    A blank frame and a file that could not be read have no sightings; the surest box comes first.
    """

    media: dict[str, Any]
    sightings: list[dict[str, Any]]
    blank_by: str | None = None
    """Who said of a part of it that nothing is there."""

    @property
    def failure(self) -> str | None:
        """Why it could not be read."""
        return self.media["failure"]


def frames(run: Run) -> Iterator[Frame]:
    """All files in the order of their paths."""
    for _, group in groupby(run.rows(_FRAMES), key=lambda row: row["media_id"]):
        rows = list(group)
        blank_by = next((row["reviewed_by"] for row in rows if row["type"] == "blank" and row["reviewed_by"]), None)
        yield Frame(rows[0], [row for row in rows if row["observation_id"] and row["type"] != "blank"], blank_by)


def box(row: dict[str, Any]) -> tuple[float, float, float, float]:
    """Left, top, width, height of a sighting in 0..1: the whole frame where a person saw something without a box."""
    return (row["x"], row["y"], row["width"], row["height"]) if row["detection_id"] else _WHOLE


def confidence(row: dict[str, Any]) -> float:
    """The detector's, and 1 where a person saw what it did not."""
    return row["confidence"] if row["detection_id"] else 1.0


def probability(row: dict[str, Any]) -> float:
    """Of the name, and 1 where a person gave it: formats want a number."""
    return 1.0 if row["probability"] is None else row["probability"]


@dataclass(frozen=True)
class Names:
    """A name for every taxon of a run that no other one has: its common name if that will do."""

    run: Run

    @cached_property
    def taxa(self) -> list[dict[str, Any]]:
        """Name, rank and lineage of each, in the order of their scientific names."""
        return list(self.run.rows(_TAXA))

    @cached_property
    def unique(self) -> dict[Key, str]:
        """By the key of a row."""
        found: dict[Key, str] = {}
        taken = set(_RESERVED)
        for row in self.taxa:
            lineage = " ".join(row[rank] for rank in RANKS if row[rank])
            choices = [row["common"], row["scientific"], f"{row['scientific']} ({lineage})"]
            numbered = (f"{row['scientific']} ({number})" for number in count(2))
            name = next(it for it in chain(choices, numbered) if it and it.strip() and it.lower() not in taken)
            taken.add(name.lower())
            found[key_of(row)] = name
        return found

    def of(self, row: dict[str, Any]) -> str | None:
        """The name of a sighting or a taxon of an event; None where it has none."""
        return self.unique[key_of(row)] if row["scientific"] else None


def key_of(row: dict[str, Any]) -> Key:
    """What tells taxa apart: names repeat."""
    return row["scientific"], *(row[rank] for rank in RANKS)


def write_stream(path: Path, parts: Mapping[str, Any]) -> None:
    """Write a JSON object of which a value may be an iterator: it becomes a list with a line an item, as they come."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for number, (name, value) in enumerate(parts.items()):
            file.write(f"{',' if number else '{'}\n{json.dumps(name)}: ")
            if isinstance(value, Iterator):
                file.write("[")
                for place, item in enumerate(value):
                    file.write(f"{',' if place else ''}\n{json.dumps(item, ensure_ascii=False)}")
                file.write("\n]")
            else:
                file.write(json.dumps(value, ensure_ascii=False, indent=1))
        file.write("\n}\n")

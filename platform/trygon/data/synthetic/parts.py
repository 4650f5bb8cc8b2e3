"""The work in parts, each a task of its own that can be done anywhere and in any order. Knows nothing of Ray.

A finished part leaves a small file in `parts/`, written last: what has one is not made again.
"""

from dataclasses import dataclass

from trygon.data.synthetic import bioscan, eol, folder, inat21, rarespecies
from trygon.data.synthetic.recipe import Recipe, SourceKind
from trygon.data.synthetic.truth import write_truth
from trygon.data.synthetic.world import make_world
from trygon.storage import join, list_files, write_json

PARTS = "parts"
_MANIFEST_SETS = 10  # image sets a media manifest

_PICTURES = {
    SourceKind.INAT21: inat21.write_pictures,
    SourceKind.BIOSCAN: bioscan.write_pictures,
    SourceKind.RARESPECIES: rarespecies.write_pictures,
    SourceKind.FOLDER: folder.write_pictures,
}
_TABLES = {
    SourceKind.INAT21: inat21.write_tables,
    SourceKind.BIOSCAN: bioscan.write_tables,
    SourceKind.EOL: eol.write_tables,
    SourceKind.RARESPECIES: rarespecies.write_tables,
    SourceKind.FOLDER: folder.write_tables,
}


@dataclass(frozen=True)
class Part:
    """One part: pictures from serial number `start` to `stop`, or tables. Small, and all that a worker needs."""

    recipe: Recipe
    out: str
    kind: str  # pictures, manifest, tables, truth
    source: SourceKind | None = None
    number: int = 1
    start: int = 0
    stop: int = 0

    @property
    def name(self) -> str:
        """Its name among all parts of the recipe."""
        return f"{self.source or 'all'}-{self.kind}-{self.number:05d}"

    @property
    def num_pictures(self) -> int:
        """Pictures that it renders."""
        return self.stop - self.start if self.kind == "pictures" else 0


def plan(recipe: Recipe, out: str, part_pictures: int) -> list[Part]:
    """All parts of a recipe below the place `out`, the long ones first; an image set of EOL is one part."""
    parts, tables = [], [Part(recipe, out, "truth")]
    for source, records in make_world(recipe).records.items():
        parts += _slices(recipe, out, "pictures", source, len(records), part_pictures)
        if len(records):
            tables.append(Part(recipe, out, "tables", source))
        if source is SourceKind.EOL:
            tables += _slices(recipe, out, "manifest", source, len(records), part_pictures * _MANIFEST_SETS)
    return tables + parts


def _slices(recipe: Recipe, out: str, kind: str, source: SourceKind, total: int, size: int) -> list[Part]:
    starts = range(0, total, size)
    return [
        Part(recipe, out, kind, source, number, start, min(start + size, total))
        for number, start in enumerate(starts, start=1)
    ]


def unfinished(parts: list[Part]) -> list[Part]:
    """The parts that are still to be made."""
    done = {place.rsplit("/", 1)[-1] for place in list_files(join(parts[0].out, PARTS), ".json")} if parts else set()
    return [part for part in parts if f"{part.name}.json" not in done]


def write_part(part: Part) -> int:
    """Make one part; the number of its pictures."""
    world = make_world(part.recipe)
    match part.kind:
        case "truth":
            write_truth(world, part.out)
        case "tables":
            assert part.source
            _TABLES[part.source](world, part.out)
        case "manifest":
            eol.write_manifest(world, part.out, part.number, part.start, part.stop)
        case _ if part.source is SourceKind.EOL:
            eol.write_image_set(world, part.out, part.number, part.start, part.stop)
        case _:
            assert part.source
            _PICTURES[part.source](world, part.out, part.start, part.stop)
    write_json(join(part.out, PARTS, f"{part.name}.json"), {"pictures": part.num_pictures})
    return part.num_pictures

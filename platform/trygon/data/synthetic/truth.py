"""What was made: the true label of each picture, and what is wrong with which one. Curation is held to it."""

import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trygon.data.synthetic.ids import picture_id
from trygon.data.synthetic.recipe import SourceKind
from trygon.data.synthetic.world import Dirt, Spelling, World
from trygon.storage import join, write_bytes, write_json
from trygon.taxonomy.taxon import RANKS, Rank

TRUTH = pa.schema(
    [
        pa.field("source", pa.string()),
        pa.field("source_id", pa.string()),
        *(pa.field(rank, pa.string()) for rank in RANKS),  # of the label, clean
        pa.field("rare", pa.bool_()),  # shows a species of the benchmark, however it is labelled
        pa.field("dirt", pa.string()),  # blank where nothing is wrong
        pa.field("spelling", pa.string()),  # blank where the name is clean
        pa.field("copy_source", pa.string()),
        pa.field("copy_of", pa.string()),
    ]
)
"""One row a picture of truth.parquet. `copy_source` and `copy_of` name the original of a copy."""

_ROWS = 20_000


def write_truth(world: World, out: str) -> None:
    """Write truth.parquet, and truth.json with the counts and the lists of what is wrong."""
    buffer = io.BytesIO()
    rare = set(world.rare_species.tolist())
    wrong: dict[str, list[dict[str, str]]] = {}
    spellings: Counter[str] = Counter()
    with pq.ParquetWriter(buffer, TRUTH, compression="zstd") as writer:
        for source, records in world.records.items():
            for start in range(0, len(records), _ROWS):
                stop = min(start + _ROWS, len(records))
                rows = [_row(world, source, serial, rare) for serial in range(start, stop)]
                writer.write_table(pa.Table.from_pylist(rows, TRUTH))
                spellings.update(row["spelling"] for row in rows if row["spelling"])
                for row in rows:
                    if row["dirt"]:
                        keys = ("source", "source_id", "copy_source", "copy_of")
                        wrong.setdefault(row["dirt"], []).append({key: row[key] for key in keys if row[key]})
    write_bytes(join(out, "truth.parquet"), buffer.getvalue())
    write_json(join(out, "truth.json"), _summary(world, wrong, spellings))


def _summary(world: World, wrong: dict[str, list[dict[str, str]]], spellings: Counter[str]) -> dict[str, Any]:
    return {
        "pictures": {str(source): len(records) for source, records in world.records.items()},
        "nodes": dict(zip(RANKS, map(len, world.tree.names), strict=True)),
        "rare_species": [list(world.tree.lineage(species)) for species in world.rare_species.tolist()],
        "homonyms": _homonyms(world.tree.names[Rank.GENUS]),
        "spellings": dict(sorted(spellings.items())),
        "dirt": {kind: {"count": len(rows), "pictures": rows} for kind, rows in sorted(wrong.items())},
    }


def _homonyms(genera: Sequence[str]) -> list[str]:
    return sorted(name for name, count in Counter(genera).items() if count > 1)


def _row(world: World, source: SourceKind, serial: int, rare: set[int]) -> dict[str, Any]:
    records = world.records[source]
    species, dirt = int(records.species[serial]), Dirt(int(records.dirt[serial]))
    original = list(SourceKind)[int(records.copy_source[serial])] if records.copy_of[serial] >= 0 else None
    spelling = Spelling.CLEAN
    if records.open_name[serial]:
        spelling = Spelling.OPEN
    elif source is SourceKind.EOL and records.rank[serial] == Rank.SPECIES and dirt is not Dirt.NO_PAGE:
        spelling = Spelling(int(world.spelling[species]))
    return {
        "source": str(source),
        "source_id": picture_id(world, source, serial),
        **dict(zip(RANKS, world.taxon(source, serial).lineage, strict=True)),
        "rare": species in rare,
        "dirt": dirt.name.lower() if dirt else "",
        "spelling": spelling.name.lower() if spelling else "",
        "copy_source": str(original) if original else "",
        "copy_of": picture_id(world, original, int(records.copy_of[serial])) if original else "",
    }

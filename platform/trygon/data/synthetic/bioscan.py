"""The synthetic BIOSCAN-1M: one table as TSV and as jsonld, crops of 256 pixels in parts of ten thousand."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from trygon.data.synthetic.ids import bioscan_part, picture_id, specimen_id
from trygon.data.synthetic.pictures import picture
from trygon.data.synthetic.recipe import SourceKind
from trygon.data.synthetic.tables import write_csv
from trygon.data.synthetic.world import World
from trygon.storage import join, stable_id, write_bytes, write_text
from trygon.taxonomy.taxon import RANKS, Rank

_KIND = SourceKind.BIOSCAN
_TABLE = "BIOSCAN_Insect_Dataset_metadata"
_NO_NAME = "not_classified"
_SUBSETS = ("large_diptera_family", "medium_diptera_family", "small_diptera_family")
_SUBSETS += ("large_insect_order", "medium_insect_order", "small_insect_order")


def write_pictures(world: World, out: str, start: int, stop: int) -> None:
    """Write some of the pictures below `out`/bioscan/cropped_256."""
    for serial in range(start, stop):
        folder, name = f"part{bioscan_part(serial)}", picture_id(world, _KIND, serial)
        write_bytes(join(out, _KIND, "cropped_256", folder, name), picture(world, _KIND, serial))


def write_tables(world: World, out: str) -> None:
    """Write the metadata, twice."""
    rows = [_row(world, serial) for serial in range(len(world.records[_KIND]))]
    write_csv(join(out, _KIND), f"{_TABLE}.tsv", list(rows[0]), (list(row.values()) for row in rows), "\t")
    write_text(join(out, _KIND, f"{_TABLE}.jsonld"), json.dumps(rows, separators=(",", ":")))


def _row(world: World, serial: int) -> dict[str, Any]:
    records = world.records[_KIND]
    taxon = world.taxon(_KIND, serial)
    names = dict(zip(RANKS, taxon.lineage, strict=True))
    if names["species"]:
        names["species"] = taxon.scientific
    elif records.open_name[serial]:
        names["species"] = f"{names['genus']} sp. {1 + serial % 9}"
    node = int(world.tree.ancestors[Rank.FAMILY, records.species[serial]])
    columns: dict[str, Any] = {
        "sampleid": specimen_id(serial),
        "processid": f"SYNTH{serial:07d}-26",
        "uri": f"BOLD:SYN{int(records.species[serial]):04d}",
        "name": taxon.scientific,
        "phylum": names["phylum"],
        "class": names["class"],
        "order": names["order"],
        "family": names["family"] or _NO_NAME,
        "subfamily": f"{names['family'][:-4]}inae" if names["family"] and node % 3 == 0 else _NO_NAME,
        "tribe": _NO_NAME,
        "genus": names["genus"] or _NO_NAME,
        "species": names["species"] or _NO_NAME,
        "subspecies": _NO_NAME,
        "nucraw": "".join(_bases(world, int(records.species[serial]))),
        "image_file": picture_id(world, _KIND, serial),
    }
    columns |= dict.fromkeys(_SUBSETS, "no_split")
    owner = {"license": "CreativeCommons-Attribution", "holder": "Synthetic Survey", "institution": "None"}
    columns |= {"chunk_number": bioscan_part(serial)}
    columns |= {f"copyright_{key}": value for key, value in (owner | {"contact": "none@example.org"}).items()}
    return columns | {"photographer": "Synthetic Survey", "author": "Synthetic Survey"}


def _bases(world: World, species: int) -> Iterator[str]:
    """A short barcode; the same for all specimens of a species."""
    digits = np.random.default_rng([world.recipe.seed, stable_id("barcode", str(species))]).integers(0, 4, 64)
    yield from ("ACGT"[digit] for digit in digits.tolist())

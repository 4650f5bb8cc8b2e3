"""The synthetic iNat21: train.json as the competition has it, and a folder for each category."""

import json
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from trygon.data.synthetic.ids import inat21_folder, inat21_path
from trygon.data.synthetic.pictures import picture, picture_size
from trygon.data.synthetic.recipe import SourceKind
from trygon.data.synthetic.tables import LICENSES, holder_of, license_of
from trygon.data.synthetic.world import World
from trygon.storage import join, write_bytes, write_text
from trygon.taxonomy.taxon import RANKS, Rank

_KIND = SourceKind.INAT21
_FIRST_DAY = datetime(2020, 1, 1)


def write_pictures(world: World, out: str, start: int, stop: int) -> None:
    """Write some of the pictures below `out`/inat21."""
    for serial in range(start, stop):
        write_bytes(join(out, _KIND, *inat21_path(world, serial).split("/")), picture(world, _KIND, serial))


def write_tables(world: World, out: str) -> None:
    """Write train.json."""
    records = world.records[_KIND]
    categories = np.searchsorted(world.inat21_species, records.species).tolist()
    content = {
        "info": {"description": "A synthetic tree of life in the format of iNat21", "version": "1.0", "year": 2021},
        "images": [_image(world, serial) for serial in range(len(records))],
        "categories": [_category(world, category) for category in range(len(world.inat21_species))],
        "annotations": [
            {"id": serial, "image_id": serial, "category_id": category} for serial, category in enumerate(categories)
        ],
        "licenses": [{"id": number, "name": name, "url": ""} for number, name in enumerate(LICENSES)],
    }
    write_text(join(out, _KIND, "train.json"), json.dumps(content, separators=(",", ":")))


def _image(world: World, serial: int) -> dict[str, Any]:
    width, height = picture_size(world, _KIND, serial)
    return {
        "id": serial,
        "width": width,
        "height": height,
        "file_name": inat21_path(world, serial),
        "license": LICENSES.index(license_of(serial)),
        "rights_holder": holder_of(serial),
        "date": f"{_FIRST_DAY + timedelta(hours=serial * 7 % 8760)}+00:00",
        "latitude": serial * 37 % 12_000 / 100 - 60,
        "longitude": serial * 53 % 36_000 / 100 - 180,
        "location_uncertainty": serial % 200,
    }


def _category(world: World, category: int) -> dict[str, Any]:
    species = int(world.inat21_species[category])
    lineage = world.tree.lineage(species)
    return {
        "id": category,
        "name": f"{lineage[Rank.GENUS]} {lineage[Rank.SPECIES]}",
        "common_name": world.tree.commons[species],
        "supercategory": lineage[Rank.CLASS],
        **dict(zip(RANKS[:-1], lineage, strict=False)),
        "specific_epithet": lineage[Rank.SPECIES],
        "image_dir_name": inat21_folder(world, category),
    }

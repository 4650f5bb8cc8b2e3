"""A plain folder of photos with labels.csv, clean and small: of the same form as the sample photos."""

from trygon.data.synthetic.ids import picture_id
from trygon.data.synthetic.pictures import picture
from trygon.data.synthetic.recipe import SourceKind
from trygon.data.synthetic.tables import holder_of, license_of, write_csv
from trygon.data.synthetic.world import World
from trygon.storage import join, write_bytes
from trygon.taxonomy.taxon import RANKS

FOLDER = "photos"
_KIND = SourceKind.FOLDER
_LABELS = ("path", *RANKS, "common", "license", "author")


def write_pictures(world: World, out: str, start: int, stop: int) -> None:
    """Write some of the pictures below `out`/photos."""
    for serial in range(start, stop):
        path = picture_id(world, _KIND, serial).split("/")
        write_bytes(join(out, FOLDER, *path), picture(world, _KIND, serial))


def write_tables(world: World, out: str) -> None:
    """Write labels.csv."""
    rows = (_row(world, serial) for serial in range(len(world.records[_KIND])))
    write_csv(join(out, FOLDER), "labels.csv", _LABELS, rows)


def _row(world: World, serial: int) -> tuple[str, ...]:
    taxon = world.taxon(_KIND, serial)
    return picture_id(world, _KIND, serial), *taxon.lineage, taxon.common, license_of(serial), holder_of(serial)

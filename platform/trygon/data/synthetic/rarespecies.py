"""The synthetic Rare Species benchmark: a folder a species, its catalog and its licences."""

from trygon.data.synthetic.ids import picture_id, rare_ids
from trygon.data.synthetic.pictures import picture
from trygon.data.synthetic.recipe import SourceKind
from trygon.data.synthetic.tables import holder_of, license_of, write_csv
from trygon.data.synthetic.world import World
from trygon.storage import join, write_bytes
from trygon.taxonomy.taxon import RANKS

_KIND = SourceKind.RARESPECIES
_CATALOG = ("rarespecies_id", "eol_content_id", "eol_page_id", *RANKS, "sciName", "common")
_LICENSES = ("rarespecies_id", "eol_content_id", "eol_page_id", "md5", "medium_source_url", "eol_full_size_copy_url")
_LICENSES += ("license_name", "copyright_owner", "license_link", "title")
_BLANK = "not provided"


def write_pictures(world: World, out: str, start: int, stop: int) -> None:
    """Write some of the pictures below `out`/rarespecies/dataset."""
    for serial in range(start, stop):
        folder = "-".join(world.taxon(_KIND, serial).lineage)
        name = "{}_{}_eol-full-size-copy.jpg".format(*rare_ids(world, serial))
        write_bytes(join(out, _KIND, "dataset", folder, name), picture(world, _KIND, serial))


def write_tables(world: World, out: str) -> None:
    """Write the catalog and the licences."""
    serials = range(len(world.records[_KIND]))
    folder = join(out, _KIND, "metadata")
    write_csv(folder, "rarespecies-catalog.csv", _CATALOG, (_row(world, serial) for serial in serials))
    write_csv(folder, "licenses.csv", _LICENSES, (_license(world, serial) for serial in serials))


def _row(world: World, serial: int) -> tuple[object, ...]:
    taxon = world.taxon(_KIND, serial)
    ids = (picture_id(world, _KIND, serial), *rare_ids(world, serial))
    return *ids, *taxon.lineage, taxon.scientific, taxon.common


def _license(world: World, serial: int) -> tuple[object, ...]:
    content, page = rare_ids(world, serial)
    urls = (f"https://media.example.org/{content}.jpg", f"https://content.example.org/data/media/{content}.jpg")
    owner = (license_of(serial), holder_of(serial), _BLANK, _BLANK)
    return picture_id(world, _KIND, serial), content, page, _BLANK, *urls, *owner

"""What each source calls its pictures and pages. Made of serial numbers, so that no list of ids has to be kept."""

import hashlib
import uuid
from functools import lru_cache

import numpy as np

from trygon.data.synthetic.recipe import SourceKind
from trygon.data.synthetic.tree import Tree
from trygon.data.synthetic.world import Dirt, World
from trygon.taxonomy.taxon import Rank

BIOSCAN_PART_PICTURES = 10_000
_FIRST_PAGE, _UNKNOWN_PAGES = 1_000, 90_000_000
_RARE_CONTENT, _EOL_CONTENT = 10_000_000, 20_000_000


def picture_id(world: World, source: SourceKind, serial: int) -> str:
    """The id by which a source's tables name a picture."""
    match source:
        case SourceKind.INAT21:
            return inat21_path(world, serial)
        case SourceKind.BIOSCAN:
            return f"{specimen_id(serial)}.jpg"
        case SourceKind.EOL:
            return "_".join(map(str, eol_ids(world, serial)))
        case SourceKind.RARESPECIES:
            return stable_uuid(world, source, serial)
        case SourceKind.FOLDER:
            species = int(world.records[source].species[serial])
            *_, genus, epithet = world.tree.lineage(species)
            return f"{genus}_{epithet}/{serial:06d}.jpg"


def stable_uuid(world: World, source: SourceKind, serial: int) -> str:
    """A uuid4 that the seed, the source and the serial number decide."""
    digest = hashlib.blake2b(f"{world.recipe.seed}/{source}/{serial}".encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))


def inat21_folder(world: World, category: int) -> str:
    """A category's `image_dir_name`: its number and its seven names."""
    return "_".join([f"{category:05d}", *world.tree.lineage(int(world.inat21_species[category]))])


def inat21_path(world: World, serial: int) -> str:
    """A picture's `file_name` in train.json."""
    species = world.records[SourceKind.INAT21].species[serial]
    category = int(np.searchsorted(world.inat21_species, species))
    return f"train/{inat21_folder(world, category)}/{stable_uuid(world, SourceKind.INAT21, serial)}.jpg"


def specimen_id(serial: int) -> str:
    """BIOSCAN's sampleid."""
    return f"BIOSYN{serial:07d}"


def bioscan_part(serial: int) -> int:
    """Which of cropped_256's parts a picture is in, from 1."""
    return 1 + serial // BIOSCAN_PART_PICTURES


def eol_ids(world: World, serial: int) -> tuple[int, int]:
    """Content id and page id of EOL's picture."""
    records = world.records[SourceKind.EOL]
    dirt, species = records.dirt[serial], int(records.species[serial])
    if dirt == Dirt.BENCHMARK_COPY:
        return rare_ids(world, int(records.copy_of[serial]))
    content = _EOL_CONTENT + 3 * serial + serial % 3
    if dirt == Dirt.NO_PAGE:
        return content, _UNKNOWN_PAGES + serial
    rank = Rank(int(records.rank[serial]))
    node = int(world.tree.ancestors[rank, species])
    return content, (open_page(world.tree, node) if records.open_name[serial] else page_id(world.tree, rank, node))


def rare_ids(world: World, serial: int) -> tuple[int, int]:
    """Content id and page id of a picture of Rare Species: it comes from EOL."""
    species = int(world.records[SourceKind.RARESPECIES].species[serial])
    return _RARE_CONTENT + 7 * serial, page_id(world.tree, Rank.SPECIES, species)


def page_id(tree: Tree, rank: Rank, node: int) -> int:
    """EOL's page of a node."""
    return _first_pages(tuple(map(len, tree.names)))[rank] + node


def open_page(tree: Tree, genus: int) -> int:
    """EOL's page of a genus's `sp. 1`."""
    return _first_pages(tuple(map(len, tree.names)))[len(Rank)] + genus


@lru_cache(maxsize=4)
def _first_pages(counts: tuple[int, ...]) -> list[int]:
    return [_FIRST_PAGE + sum(counts[:rank]) for rank in range(len(counts) + 1)]

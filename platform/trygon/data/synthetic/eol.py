"""The synthetic Encyclopedia of Life: image sets as tar.gz, media manifests, taxon.tab and vernacular names.

Its hierarchy has ranks beside the seven, synonyms, its own names of kingdoms, and species written in several ways.
"""

import gzip
import io
import tarfile
from collections.abc import Iterator

from trygon.data.synthetic.ids import eol_ids, open_page, page_id
from trygon.data.synthetic.pictures import picture
from trygon.data.synthetic.recipe import SourceKind
from trygon.data.synthetic.tables import csv_bytes, holder_of, license_of, write_csv
from trygon.data.synthetic.world import Spelling, World
from trygon.storage import join, write_bytes
from trygon.taxonomy.taxon import RANKS, Rank

KINGDOM_NAMES = {"Animalia": "Metazoa", "Plantae": "Archaeplastida"}
"""What the hierarchy calls the kingdoms; Fungi are Fungi."""

_KIND = SourceKind.EOL
_MANIFEST = ("EOL content ID", "EOL page ID", "Medium Source URL", "EOL Full-Size Copy URL", "License Name")
_MANIFEST += ("Copyright Owner",)
_CATALOG = ("EOL content ID", "EOL page ID", "filename")
_HIERARCHY = (
    *("taxonID", "source", "furtherInformationURL", "acceptedNameUsageID", "parentNameUsageID", "scientificName"),
    *("taxonRank", "taxonomicStatus", "datasetID", "canonicalName", "authority", "eolID", "Landmark"),
    "higherClassification",
)
_VERNACULAR = ("page_id", "canonical_form", "vernacular_string", "language_code", "resource_name")
_VERNACULAR += ("is_preferred_by_resource", "is_preferred_by_eol")
_AUTHORS = ("Linnaeus, 1758", "Fabricius, 1793", "Latreille, 1804", "Gray, 1831", "Hooker, 1844")
_SUPERFAMILY_EVERY, _SYNONYM_EVERY = 5, 33


def file_name(world: World, serial: int) -> str:
    """A picture's name in its image set."""
    return "{}_{}_eol-full-size-copy.jpg".format(*eol_ids(world, serial))


def image_set_path(number: int) -> str:
    """Where an image set is, below `out`/eol; numbered from 1."""
    return f"image_set_{number:02d}.tar.gz"


def write_image_set(world: World, out: str, number: int, start: int, stop: int) -> None:
    """Write one image set; the same bytes every time."""
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", 1, buffer, mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        rows = ((*eol_ids(world, serial), file_name(world, serial)) for serial in range(start, stop))
        _add(tar, "catalog.csv", csv_bytes(_CATALOG, rows))
        for serial in range(start, stop):
            _add(tar, file_name(world, serial), picture(world, _KIND, serial))
    write_bytes(join(out, _KIND, image_set_path(number)), buffer.getvalue())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)  # its time is 1970
    header.size = len(data)
    tar.addfile(header, io.BytesIO(data))


def write_manifest(world: World, out: str, number: int, start: int, stop: int) -> None:
    """Write one media manifest; only the first has a header, as EOL's do."""
    rows = (_media(world, serial) for serial in range(start, stop))
    write_csv(join(out, _KIND), f"media_manifest_{number}.csv", _MANIFEST if number == 1 else None, rows)


def _media(world: World, serial: int) -> tuple[object, ...]:
    content, page = eol_ids(world, serial)
    original = f"https://media.example.org/{content}.jpg"
    copy = f"https://content.example.org/data/media/{content}.jpg"
    return content, page, original, copy, license_of(serial), holder_of(serial)


def write_tables(world: World, out: str) -> None:
    """Write the hierarchy and the vernacular names."""
    write_csv(join(out, _KIND), "taxon.tab", _HIERARCHY, _hierarchy(world), "\t")
    write_csv(join(out, _KIND), "vernacularnames.csv", _VERNACULAR, _vernaculars(world))


def _taxon_id(page: int) -> str:
    return f"EOL-{page:012d}"


def _hierarchy(world: World) -> Iterator[list[str]]:
    tree = world.tree
    for rank in list(Rank)[: Rank.SPECIES]:
        for node, name in enumerate(tree.names[rank]):
            parent = _taxon_id(page_id(tree, Rank(rank - 1), int(tree.parents[rank][node]))) if rank else ""
            taxon_id = _taxon_id(page_id(tree, rank, node))
            if rank is Rank.FAMILY and node % _SUPERFAMILY_EVERY == 0:
                between = f"{taxon_id}-S"
                yield _line(between, parent, f"{name}-group", "superfamily", f"{name}-group", "")
                parent = between
            written = KINGDOM_NAMES.get(name, name) if rank is Rank.KINGDOM else name
            yield _line(taxon_id, parent, written, RANKS[rank], written, taxon_id)
    for genus, name in enumerate(tree.names[Rank.GENUS]):
        taxon_id = _taxon_id(open_page(tree, genus))
        yield _line(taxon_id, _taxon_id(page_id(tree, Rank.GENUS, genus)), f"{name} sp. 1", "species", "", taxon_id)
    for species in range(tree.num_species):
        yield from _species_lines(world, species)


def _species_lines(world: World, species: int) -> Iterator[list[str]]:
    tree = world.tree
    genus = int(tree.parents[Rank.SPECIES][species])
    binomial = f"{tree.names[Rank.GENUS][genus]} {tree.names[Rank.SPECIES][species]}"
    taxon_id = _taxon_id(page_id(tree, Rank.SPECIES, species))
    parent = _taxon_id(page_id(tree, Rank.GENUS, genus))
    spelling = Spelling(int(world.spelling[species]))
    author = _AUTHORS[species % len(_AUTHORS)]
    # The written name is what counts where the canonical one is missing.
    canonical = binomial if spelling is Spelling.CLEAN else ""
    clean = f"{binomial} {author}" if species % 3 == 0 else binomial
    written = clean if spelling is Spelling.CLEAN else spelled(binomial, spelling, species)
    yield _line(taxon_id, parent, written, "species", canonical, taxon_id, authority=author)
    if species % _SYNONYM_EVERY == 0:
        old = f"Olim{tree.names[Rank.GENUS][genus].lower()} {tree.names[Rank.SPECIES][species]}"
        yield _line(f"{taxon_id}-O", "", old, "species", old, "", accepted=taxon_id)


def spelled(binomial: str, spelling: Spelling, number: int) -> str:
    """A species' name with what sources add to it; `number` chooses the author."""
    author = _AUTHORS[number % len(_AUTHORS)]
    match spelling:
        case Spelling.AUTHORITY:
            return f"{binomial} {author}"
        case Spelling.BRACKETS:
            return f"{binomial} ({author})"
        case Spelling.HTML:
            return f"<i>{binomial}</i> {author.split(',')[0]}"
        case Spelling.VARIETY:
            return f"{binomial} var. minor"
        case Spelling.OPEN:
            return f"{binomial.split()[0]} sp. 1"
        case Spelling.CLEAN:
            return binomial


def _line(
    taxon_id: str,
    parent: str,
    scientific: str,
    rank: str,
    canonical: str,
    page_of: str,
    accepted: str = "",
    authority: str = "",
) -> list[str]:
    """A row of the hierarchy; `page_of` is the taxon id that holds the page's number, blank where it has none."""
    status = "synonym" if accepted else "accepted"
    page = str(int(page_of.removeprefix("EOL-"))) if page_of else ""
    return [taxon_id, "trunk", "", accepted, parent, scientific, rank, status, "", canonical, authority, page, "", ""]


def _vernaculars(world: World) -> Iterator[tuple[object, ...]]:
    tree = world.tree
    for species, common in enumerate(tree.commons):
        if common:
            page, name = page_id(tree, Rank.SPECIES, species), " ".join(tree.lineage(species)[Rank.GENUS :])
            yield page, name, f"{common.split()[-1]}e", "deu", "synthetic", "true", "true"
            if species % 4 == 0:  # a name that EOL does not prefer stands before the one that it does
                yield page, name, f"so-called {common}", "eng", "synthetic", "false", "false"
            yield page, name, common, "eng", "synthetic", "true", "true"

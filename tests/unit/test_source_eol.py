"""The Encyclopedia of Life is read in its publisher's forms: media, pages, hierarchy."""

from pathlib import Path

import pytest

from trygon.data.sources.eol import Eol
from trygon.errors import UserError
from trygon.taxonomy.taxon import RANKS
from trygon.testing.sources import (
    EOL_MEDIA,
    EOL_MEMBERS,
    EOL_PICTURES,
    RAVEN,
    UUIDS,
    lineage_of,
    read_all,
    rows_of,
    write_csv,
    write_files,
    write_tar,
)

TAXON_HEADER = ["taxonID", "parentNameUsageID", "acceptedNameUsageID", "scientificName", "canonicalName"]


def write_eol_tables(folder: Path) -> None:
    header = [*TAXON_HEADER, "taxonRank", "taxonomicStatus", "eolID"]
    ranks = zip(RANKS[:6], RAVEN[:6], strict=True)
    rows: list[list[str]] = []
    for place, (rank, name) in enumerate(ranks):
        rows.append(
            [f"T{place}", f"T{place - 1}" if place else "", "", name, name, rank, "accepted", str(100 + place)]
        )
    rows.append(["T6", "T5", "T6", "Corvus corax Linnaeus", "Corvus corax", "species", "accepted", "106"])
    rows.append(
        ["T7", "T6", "", "Corvus corax tingitanus", "Corvus corax tingitanus", "subspecies", "accepted", "107"]
    )
    rows.append(["T8", "", "T6", 'Corvus "major" Vieillot', "Corvus major", "species", "synonym", "108"])
    lines = ["\t".join(row) for row in [header, *rows]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "taxon.tab").write_text("\n".join(lines) + "\n")
    media = [[content, page, "u", "u", "cc-by", "A. Holder"] for content, page in EOL_MEDIA]
    media_header = ["EOL content ID", "EOL page ID", "Medium Source URL", "EOL Full-Size Copy URL", "License Name"]
    write_csv(folder / "media_manifest_1.csv", [[*media_header, "Copyright Owner"], *media[:2]])
    write_csv(folder / "media_manifest_2.csv", media[2:])


def test_eol_names_pages_by_the_hierarchy(tmp_path: Path) -> None:
    write_eol_tables(tmp_path)
    rows = rows_of(Eol(str(tmp_path)))
    raven = (*RAVEN[:6], "Corvus corax")
    assert set(rows) == set(EOL_PICTURES)
    assert lineage_of(rows["11_106"]) == raven
    assert lineage_of(rows["12_107"]) == raven, "a subspecies is of its species"
    assert lineage_of(rows["13_108"]) == raven, "a synonym is of what it is accepted as"
    assert lineage_of(rows["14_105"]) == (*RAVEN[:6], "")
    assert lineage_of(rows["15_999"]) == ("",) * 7
    assert (rows["11_106"]["license"], rows["11_106"]["rights_holder"]) == ("cc-by", "A. Holder")


def test_eol_pages_that_the_hierarchy_lacks_take_the_scraped_name(tmp_path: Path) -> None:
    write_eol_tables(tmp_path)
    names = [["page_id", "scientific_name"], ["999", "Vulpes vulpes (Linnaeus)"], ["106", "Not this"]]
    write_csv(tmp_path / "scraped_page_ids.csv", names)
    rows = rows_of(Eol(str(tmp_path)))
    assert rows["15_999"]["species"] == "Vulpes vulpes (Linnaeus)"
    assert rows["11_106"]["species"] == "Corvus corax"


@pytest.mark.parametrize("packed", [False, True])
def test_eol_pictures_by_their_file_names(tmp_path: Path, packed: bool) -> None:
    if packed:
        write_tar(tmp_path / "image_set_01.tar.gz", {"catalog.csv": b"treeoflife_id\n", **EOL_MEMBERS})
    else:
        write_files(tmp_path / "image_set_01", EOL_MEMBERS)
    assert read_all(Eol(str(tmp_path))) == EOL_PICTURES


@pytest.mark.parametrize("where", ["beside", "first in the tar", "last in the tar"])
def test_eol_image_sets_of_uuids_go_by_their_catalog(tmp_path: Path, where: str) -> None:
    rows = [[uuid, content, f"{page}.0"] for uuid, (content, page) in zip(UUIDS, EOL_MEDIA, strict=False)]
    write_csv(tmp_path / "catalog.csv", [["treeoflife_id", "eol_content_id", "eol_page_id"], *rows])
    pictures = {f"set/{uuid}.jpg": content.encode() for uuid, (content, _) in zip(UUIDS, EOL_MEDIA, strict=False)}
    if where != "beside":
        catalog = {"set/catalog.csv": (tmp_path / "catalog.csv").read_bytes()}
        (tmp_path / "catalog.csv").unlink()
        pictures = catalog | pictures if where.startswith("first") else pictures | catalog
    write_tar(tmp_path / "image_set_01.tar.gz", pictures)
    assert read_all(Eol(str(tmp_path))) == EOL_PICTURES


def test_eol_image_sets_of_uuids_without_a_catalog_say_what_is_missing(tmp_path: Path) -> None:
    write_tar(tmp_path / "image_set_01.tar.gz", {f"{UUIDS[0]}.jpg": b"x"})
    source = Eol(str(tmp_path))
    with pytest.raises(UserError, match=r"put the catalog\.csv of the image set beside it"):
        list(source.read(source.units()[0]))


def test_an_archive_beside_its_unpacked_folder_is_read_once(tmp_path: Path) -> None:
    write_files(tmp_path / "image_set_01", EOL_MEMBERS)
    write_tar(tmp_path / "image_set_01.tar.gz", EOL_MEMBERS)
    write_tar(tmp_path / "image_set_02.tar.gz", {"9_9_eol.jpg": b"9"})
    assert read_all(Eol(str(tmp_path))) == EOL_PICTURES | {"9_9": b"9"}

"""Each source is read in its publisher's format; what pictures there are and what is said of them fit together."""

import csv
import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.data.sources.bioscan import Bioscan
from trygon.data.sources.catalog import SOURCES, open_source, open_sources
from trygon.data.sources.eol import Eol
from trygon.data.sources.folder import Folder, PathList
from trygon.data.sources.inat21 import INat21
from trygon.data.sources.rarespecies import RareSpecies
from trygon.data.sources.source import UNIT_FILES, Source
from trygon.data.sources.tables import num_bad_lines
from trygon.data.sources.treeoflife import TreeOfLife
from trygon.data.sources.webdataset import WebDataset, parse_tags
from trygon.data.webdataset import write_webdataset
from trygon.errors import UserError
from trygon.schemas import RECORD
from trygon.storage import join, write_bytes
from trygon.taxonomy.captions import TextType, caption
from trygon.taxonomy.taxon import RANKS, Lineage, Taxon
from trygon.testing.s3 import s3_server, using

RAVEN = ("Animalia", "Chordata", "Aves", "Passeriformes", "Corvidae", "Corvus", "corax")
UUIDS = [f"0000000{number}-1111-4222-8333-444444444444" for number in range(6)]


def write_csv(path: Path, rows: Iterable[Sequence[Any]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def write_tar(path: Path, contents: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def read_all(source: Source) -> dict[str, bytes]:
    """Pictures by id; each once, none with a reason."""
    found: dict[str, bytes] = {}
    for unit in source.units():
        for picture in source.read(unit):
            assert not picture.reason, picture
            assert picture.source_id not in found
            found[picture.source_id] = picture.data
    return found


def rows_of(source: Source) -> dict[str, dict[str, str]]:
    """Records by id."""
    table = source.records()
    assert table.schema.equals(RECORD)
    assert not any(column.null_count for column in table.columns)
    return {row["source_id"]: row for row in table.to_pylist()}


def lineage_of(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(row[rank] for rank in RANKS)


# iNat21


INAT = {"train/00000_" + "_".join(RAVEN) + "/a.jpg": b"A", "train/00000_" + "_".join(RAVEN) + "/b.jpg": b"B"}


def inat_json(names: Iterable[str]) -> dict[str, Any]:
    category = dict(zip((*RANKS[:-1], "specific_epithet"), RAVEN, strict=True))
    images = [
        {"id": place, "width": 5, "height": 5, "file_name": name, "license": 1, "rights_holder": f"holder {place}"}
        for place, name in enumerate(names)
    ]
    return {
        "images": [*images, {"id": 99, "file_name": "train/none/unlabelled.jpg", "license": 1, "rights_holder": "x"}],
        "categories": [{"id": 7, "name": "Corvus corax", "common_name": "Common Raven", **category}],
        "annotations": [{"id": each["id"], "image_id": each["id"], "category_id": 7} for each in images],
        "licenses": [{"id": 1, "name": "CC-BY", "url": "http://example.org/by"}],
    }


def test_inat21_from_its_json(tmp_path: Path) -> None:
    write_files(tmp_path, INAT)
    (tmp_path / "train.json").write_text(json.dumps(inat_json(INAT)))
    source = open_source(f"inat21:{tmp_path}")
    rows = rows_of(source)
    assert read_all(source) == INAT
    assert set(rows) == set(INAT)
    row = rows[min(INAT)]
    assert lineage_of(row) == RAVEN
    assert (row["common"], row["license"], row["rights_holder"]) == ("Common Raven", "CC-BY", "holder 0")


@pytest.mark.parametrize("name", ["train.tar.gz", "train.tar"])
def test_inat21_from_its_archive(tmp_path: Path, name: str) -> None:
    write_tar(tmp_path / name, {f"./{path}": data for path, data in INAT.items()} | {"train/._a.jpg": b"junk"})
    write_tar(tmp_path / "train.json.tar.gz", {"train.json": json.dumps(inat_json(INAT)).encode()})
    source = INat21(str(tmp_path))
    assert [unit.uri for unit in source.units()] == [str(tmp_path / name)]
    assert read_all(source) == INAT
    assert rows_of(source)[min(INAT)]["common"] == "Common Raven"


@pytest.mark.parametrize("packed", [False, True])
def test_inat21_without_json_takes_names_from_folders(tmp_path: Path, packed: bool) -> None:
    contents = INAT | {"train/00001_Animalia_Chordata/c.jpg": b"C"}
    write_tar(tmp_path / "train.tar.gz", contents) if packed else write_files(tmp_path, contents)
    source = INat21(str(tmp_path))
    rows = rows_of(source)
    assert set(rows) == set(INAT)
    assert {lineage_of(row) for row in rows.values()} == {RAVEN}
    assert read_all(source) == contents


def test_inat21_reads_one_split(tmp_path: Path) -> None:
    contents = {name.replace("train/", f"{split}/"): b"x" for name in INAT for split in ("train_mini", "train", "val")}
    write_files(tmp_path, contents)
    assert all(name.startswith("train/") for name in read_all(INat21(str(tmp_path))))
    validation = INat21(str(tmp_path / "val"))
    assert all(name.startswith("val/") for name in read_all(validation))
    assert set(rows_of(validation)) == set(read_all(validation))


# BIOSCAN-1M


BIOSCAN_HEADER = ["sampleid", "phylum", "class", "order", "family", "subfamily", "genus", "species", "image_file"]
BIOSCAN_ROWS = [
    ["s1", "Arthropoda", "Insecta", "Diptera", "Sciaridae", "x", "not_classified", "not_classified", "1_0.jpg"],
    ["s2", "Arthropoda", "Insecta", "Diptera", "Muscidae", "x", "Musca", "Musca domestica", "2_0.jpg"],
]
BIOSCAN_PICTURES = {"1_0.jpg": b"one", "2_0.jpg": b"two"}


def write_bioscan_table(folder: Path, kind: str) -> None:
    header = [*BIOSCAN_HEADER, "copyright_license", "copyright_holder"]
    rows = [[*row, "CreativeCommons - Attribution", "CBG Photography Group"] for row in BIOSCAN_ROWS]
    if kind == "tsv":
        write_csv(folder / "BIOSCAN_Insect_Dataset_metadata.tsv", [header, *rows], "\t")
    else:
        content = json.dumps([dict(zip(header, row, strict=True)) for row in rows])
        (folder / "BIOSCAN_Insect_Dataset_metadata.jsonld").write_text(content)


@pytest.mark.parametrize("kind", ["tsv", "jsonld"])
def test_bioscan_says_nothing_where_it_is_not_classified(tmp_path: Path, kind: str) -> None:
    write_bioscan_table(tmp_path, kind)
    rows = rows_of(Bioscan(str(tmp_path)))
    assert lineage_of(rows["1_0.jpg"]) == ("Animalia", "Arthropoda", "Insecta", "Diptera", "Sciaridae", "", "")
    assert rows["2_0.jpg"]["species"] == "Musca domestica"
    assert rows["2_0.jpg"]["rights_holder"] == "CBG Photography Group"
    assert rows["2_0.jpg"]["license"] == "CreativeCommons - Attribution"


@pytest.mark.parametrize("form", ["folders", "part zips", "one zip"])
def test_bioscan_pictures_in_every_form(tmp_path: Path, form: str) -> None:
    parts = {"part1/1_0.jpg": b"one", "part2/2_0.jpg": b"two"}
    (tmp_path / "cropped_256").mkdir()
    write_files(tmp_path / "original_256" / "part1", {"1_0.jpg": b"not this one"})
    if form == "folders":
        write_files(tmp_path / "cropped_256", parts)
    elif form == "part zips":
        for path, data in parts.items():
            with zipfile.ZipFile(tmp_path / "cropped_256" / f"{path[:5]}.zip", "w") as archive:
                archive.writestr(path, data)
    else:
        with zipfile.ZipFile(tmp_path / "cropped_256.zip", "w") as archive:
            archive.mkdir("cropped_256")
            for path, data in parts.items():
                archive.writestr(f"cropped_256/{path}", data)
    assert read_all(Bioscan(str(tmp_path))) == BIOSCAN_PICTURES


# EOL


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


EOL_MEDIA = [("11", "106"), ("12", "107"), ("13", "108"), ("14", "105"), ("15", "999")]
EOL_PICTURES = {f"{content}_{page}": f"{content}".encode() for content, page in EOL_MEDIA}
EOL_MEMBERS = {f"{name}_eol-full-size-copy.jpg": data for name, data in EOL_PICTURES.items()}


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


# TreeOfLife-10M


CATALOG_HEADER = [
    *("split", "treeoflife_id", "eol_content_id", "eol_page_id", "bioscan_part", "bioscan_filename"),
    *("inat21_filename", "inat21_cls_name", "inat21_cls_num", *RANKS, "common"),
]


def test_treeoflife_release(tmp_path: Path) -> None:
    rows = [
        ["train", UUIDS[0], "11", "106", "", "", "", "", "", *RAVEN, "Common Raven"],
        ["val", UUIDS[1], "12", "107", "", "", "", "", "", *RAVEN[:5], "", "", 'a "quoted",\nname'],
        ["train", UUIDS[2], "", "", "", "", "a.jpg", "00000_x", "0", *RAVEN, "Common Raven"],
        ["train", UUIDS[3], "", "", "1", "1_0.jpg", "", "", "", *RAVEN, "Common Raven"],
    ]
    write_csv(tmp_path / "metadata" / "catalog.csv", [CATALOG_HEADER, *rows])
    header = ["treeoflife_id", "eol_content_id", "license_name", "copyright_owner", "license_link", "title"]
    licenses = [header, [UUIDS[1], "12", "cc-by", "not provided", "l", "t"], [UUIDS[0], "11", "cc0", "Me", "l", "t"]]
    write_csv(tmp_path / "metadata" / "licenses.csv", licenses)
    pictures = {f"{UUIDS[0]}.jpg": b"0", f"{UUIDS[1]}.jpg": b"1"}
    write_tar(tmp_path / "dataset" / "EOL" / "image_set_01.tar.gz", pictures)
    source = TreeOfLife(str(tmp_path))
    found = rows_of(source)
    assert read_all(source) == {UUIDS[0]: b"0", UUIDS[1]: b"1"}
    assert set(found) == {UUIDS[0], UUIDS[1]}, "the release has no pictures of iNat21 and BIOSCAN"
    assert lineage_of(found[UUIDS[0]]) == RAVEN
    assert (found[UUIDS[0]]["license"], found[UUIDS[0]]["rights_holder"]) == ("cc0", "Me")
    assert (found[UUIDS[1]]["license"], found[UUIDS[1]]["rights_holder"]) == ("cc-by", "")
    assert found[UUIDS[1]]["common"] == 'a "quoted",\nname'


# WebDataset


def test_webdataset_of_our_own_and_without_captions(tmp_path: Path) -> None:
    blank = ("Animalia", "", "Aves", "", "", "Corvus", "")
    samples = [
        {"sample_id": 1, "image": b"one", **dict(zip(RANKS, RAVEN, strict=True)), "common": "Common Raven"},
        {"sample_id": 2, "image": b"two", **dict(zip(RANKS, blank, strict=True)), "common": ""},
    ]
    (tmp_path / "train").mkdir()
    write_webdataset(tmp_path / "train" / "shard-000000.tar", samples)
    write_tar(tmp_path / "train" / "shard-000001.tar", {"bare.jpg": b"three"})
    source = WebDataset(str(tmp_path))
    rows = rows_of(source)
    keys = ["0000000000000001", "0000000000000002"]
    assert read_all(source) == {keys[0]: b"one", keys[1]: b"two", "bare": b"three"}
    assert set(rows) == set(keys)
    assert (lineage_of(rows[keys[0]]), rows[keys[0]]["common"]) == (RAVEN, "Common Raven")
    assert (lineage_of(rows[keys[1]]), rows[keys[1]]["common"]) == (blank, ""), "the scientific name is no common one"
    assert read_all(WebDataset(str(tmp_path / "train" / "shard-000001.tar"))) == {"bare": b"three"}


def test_webdataset_without_tags_takes_a_taxonomic_name_of_seven_words_and_no_other(tmp_path: Path) -> None:
    members = {
        "a.jpg": b"x",
        "a.taxonomic_name.txt": " ".join(RAVEN).encode(),
        "b.jpg": b"x",
        "b.taxonomic_name.txt": b"Animalia Chordata Corvus corax",
    }
    write_tar(tmp_path / "shard-000000.tar", members)
    rows = rows_of(WebDataset(str(tmp_path)))
    assert lineage_of(rows["a"]) == RAVEN
    assert lineage_of(rows["b"]) == ("",) * 7


_WORD = st.text("abcdefgh-", min_size=1, max_size=8)
_NAME = st.lists(_WORD.map(str.capitalize), min_size=1, max_size=3).map(" ".join)


@given(st.tuples(*[st.one_of(st.just(""), _NAME)] * 6), st.one_of(st.just(""), _WORD, st.sampled_from(RANKS)))
def test_tags_tell_any_lineage_that_a_caption_was_made_of(names: tuple[str, ...], epithet: str) -> None:
    lineage: Lineage = (*names, epithet)  # pyright: ignore[reportAssignmentType]
    assert parse_tags(caption(Taxon(lineage), TextType.TAXON_TAG)) == lineage


# Rare Species


def test_rare_species(tmp_path: Path) -> None:
    header = ["rarespecies_id", "eol_content_id", "eol_page_id", *RANKS, "sciName", "common"]
    catalog = [header, [UUIDS[0], "11", "106", *RAVEN, "Corvus corax", "Common Raven"]]
    write_csv(tmp_path / "metadata" / "rarespecies-catalog.csv", catalog)
    licenses = ["rarespecies_id", "eol_content_id", "eol_page_id", "license_name", "copyright_owner"]
    write_csv(tmp_path / "metadata" / "licenses.csv", [licenses, [UUIDS[0], "11", "106", "cc-by", "Me"]])
    folder = f"dataset/{'-'.join(RAVEN)}"
    names = [f"{folder}/11_106_eol-full-size-copy.jpg", f"{folder}/12_106_eol-full-size-copy.jpg"]
    write_files(tmp_path, {names[0]: b"11", names[1]: b"12"})
    source = RareSpecies(str(tmp_path))
    row = rows_of(source)[UUIDS[0]]
    assert (lineage_of(row), row["common"], row["license"], row["rights_holder"]) == (
        RAVEN,
        "Common Raven",
        "cc-by",
        "Me",
    )
    assert read_all(source) == {UUIDS[0]: b"11", names[1]: b"12"}, "what the catalog lacks has no record"


# Folders and lists


LABELS_HEADER = ["path", *RANKS, "common", "license", "author"]


def test_folder_with_labels_as_excel_writes_them(tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    write_files(folder, {"a/b.JPG": b"b", "c.png": b"c", "notes.txt": b"n"})
    write_csv(folder / "labels.csv", [LABELS_HEADER, ["./a/b.JPG", *RAVEN, "Räven", "CC0", "Me"], ["", *[""] * 10]])
    (folder / "labels.csv").write_bytes(b"\xef\xbb\xbf" + (folder / "labels.csv").read_bytes())
    source = open_source(str(folder))
    rows = rows_of(source)
    assert source.name == "my photos"
    assert set(rows) == {"a/b.JPG"}
    assert num_bad_lines(source.records()) == 1
    assert rows["a/b.JPG"]["common"] == "Räven"
    assert rows["a/b.JPG"]["rights_holder"] == "Me"
    assert read_all(source) == {"a/b.JPG": b"b", "c.png": b"c"}


def test_what_labels_name_is_a_picture_whatever_its_ending(tmp_path: Path) -> None:
    named = {"a.heic": b"a", "b.JFIF": b"b", "c": b"c", "d.zip": b"d", "e.jpg": b"e"}
    write_files(tmp_path, {**named, "f.png": b"f", "g.heic": b"g", "h.zip": b"h"})
    write_csv(tmp_path / "labels.csv", [LABELS_HEADER, *([path, *RAVEN, "", "", ""] for path in named)])
    assert read_all(Folder(str(tmp_path))) == named | {"f.png": b"f"}


def test_names_that_are_no_utf8_are_read(tmp_path: Path) -> None:
    folder = tmp_path / ("train/00000_" + "_".join(RAVEN))
    folder.mkdir(parents=True)
    (folder / os.fsdecode(b"\xe9.jpg")).write_bytes(b"e")
    source = INat21(str(tmp_path))
    assert set(rows_of(source)) == set(read_all(source))
    (name,) = read_all(Folder(str(folder)))
    assert name == r"\xe9.jpg"


def test_labels_in_another_encoding_are_read_and_not_refused(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.jpg": b"a"})
    write_csv(tmp_path / "labels.csv", [LABELS_HEADER, ["a.jpg", *RAVEN, "x", "", ""]])
    text = (tmp_path / "labels.csv").read_bytes()
    (tmp_path / "labels.csv").write_bytes(text.replace(b",x,", b",R\xe4ven,"))
    assert rows_of(Folder(str(tmp_path)))["a.jpg"]["common"] == "R\ufffdven"


def test_lines_that_are_no_rows_are_counted(tmp_path: Path) -> None:
    write_csv(tmp_path / "list.csv", [LABELS_HEADER, ["a.jpg", *RAVEN, "", "", ""], ["b.jpg", "Animalia"]])
    records = PathList(str(tmp_path / "list.csv")).records()
    assert records["source_id"].to_pylist() == ["a.jpg"]
    assert num_bad_lines(records) == 1


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_table_without_rows_has_none(tmp_path: Path, end: str) -> None:
    (tmp_path / "list.csv").write_text(",".join(LABELS_HEADER) + end)
    records = PathList(str(tmp_path / "list.csv")).records()
    assert (records.num_rows, num_bad_lines(records)) == (0, 0)
    assert records.schema.equals(RECORD)


def test_a_quotation_mark_that_nothing_closes_loses_lines_that_are_counted(tmp_path: Path) -> None:
    good = f"{','.join(RAVEN)},{'c' * 5_000},,"
    lines = [f"{number}.jpg,{good}" for number in range(4_000)]
    lines[10] = f'10.jpg,"{good}'
    (tmp_path / "list.csv").write_text("\n".join([",".join(LABELS_HEADER), *lines]) + "\n")
    records = PathList(str(tmp_path / "list.csv")).records()
    assert records.num_rows > 2_000
    assert records.num_rows + num_bad_lines(records) == len(lines)


def test_list_of_paths_anywhere(tmp_path: Path) -> None:
    write_files(tmp_path, {"lists/near.jpg": b"near", "far/away": b"far"})
    paths = ["near.jpg", str(tmp_path / "far" / "away"), "gone.jpg", "near.jpg"]
    write_csv(tmp_path / "lists" / "birds.csv", [LABELS_HEADER, *([path, *RAVEN, "", "", ""] for path in paths)])
    source = open_source(f"list:{tmp_path / 'lists' / 'birds.csv'}")
    assert source.name == "birds"
    pictures = [(each.source_id, each.data, each.reason) for unit in source.units() for each in source.read(unit)]
    assert pictures == [(paths[0], b"near", ""), (paths[1], b"far", ""), (paths[2], b"", "missing")]
    assert source.records().num_rows == 4


# What holds for all


def test_units_are_small_sorted_and_the_same_every_time(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{number:04}.jpg": b"" for number in range(UNIT_FILES + 1)})
    source = pickle.loads(pickle.dumps(Folder(str(tmp_path))))
    units = source.units()
    assert [len(unit.members) for unit in units] == [UNIT_FILES, 1]
    assert sorted(units[0].members) == list(units[0].members)
    assert units == Folder(str(tmp_path)).units()


def test_sources_on_s3_are_as_those_on_disk() -> None:
    corvid = "train/00000_" + "_".join(RAVEN)
    with s3_server("tree") as address, using(address):
        for root in ("s3://tree", f"s3://tree/of life?endpoint_override={address}"):
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w:gz") as tar:
                info = tarfile.TarInfo("11_106_eol-full-size-copy.jpg")
                info.size = 3
                tar.addfile(info, io.BytesIO(b"eol"))
            write_bytes(join(root, "inat", corvid, "a b.jpg"), b"inat")
            write_bytes(join(root, "eol", "image_set_01.tar.gz"), packed.getvalue())
            labels = f"{','.join(LABELS_HEADER)}\n{join(root, 'inat', corvid, 'a b.jpg')},{','.join(RAVEN)},,,\n"
            write_bytes(join(root, "own", "labels.csv"), labels.encode())
            inat, eol = open_source(f"inat21:{join(root, 'inat')}"), open_source(f"eol:{join(root, 'eol')}")
            own = open_source(f"list:{join(root, 'own', 'labels.csv')}")
            assert read_all(inat) == {f"{corvid}/a b.jpg": b"inat"}
            assert lineage_of(rows_of(inat)[f"{corvid}/a b.jpg"]) == RAVEN
            assert read_all(eol) == {"11_106": b"eol"}
            assert read_all(own) == {join(root, "inat", corvid, "a b.jpg"): b"inat"}
            assert own.name == "labels"
            with pytest.raises(UserError, match=r"media_manifest_1\.csv: put"):
                eol.records()


def test_an_archive_beside_its_unpacked_folder_is_read_once(tmp_path: Path) -> None:
    write_files(tmp_path / "image_set_01", EOL_MEMBERS)
    write_tar(tmp_path / "image_set_01.tar.gz", EOL_MEMBERS)
    write_tar(tmp_path / "image_set_02.tar.gz", {"9_9_eol.jpg": b"9"})
    assert read_all(Eol(str(tmp_path))) == EOL_PICTURES | {"9_9": b"9"}


@pytest.mark.parametrize("kind", SOURCES)
def test_an_empty_place_says_what_to_put_there(tmp_path: Path, kind: str) -> None:
    source = open_source(f"{kind}:{tmp_path / 'empty'}")
    assert pickle.loads(pickle.dumps(source)) == source
    for ask in (source.units, source.records):
        with pytest.raises(UserError, match=r"empty.*(put|cannot be read)"):
            ask()


def test_a_file_without_the_columns_is_told(tmp_path: Path) -> None:
    write_csv(tmp_path / "labels.csv", [["path", "kingdom"], ["a.jpg", "Animalia"]])
    with pytest.raises(UserError, match=r"labels\.csv has no column 'phylum'.*It needs the columns path"):
        Folder(str(tmp_path)).records()


def test_places_are_whole_for_workers_that_run_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert open_source("folder:.").uri == str(tmp_path)
    assert open_source("folder:.").name == tmp_path.name
    assert open_source("inat21:~/x").uri == "/home/somebody/x"


def test_what_is_no_table_is_told(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(",".join(LABELS_HEADER).encode() + b"\n" + b"x" * (25 << 20))
    with pytest.raises(UserError, match=r"list\.csv cannot be read as a table of text"):
        PathList(str(tmp_path / "list.csv")).records()


def test_sources_are_told_in_a_line() -> None:
    told = ["inat21:/a", "birds=inat21:/b/", "s3://bucket/photos", "eol:s3://bucket/eol", "/c/x=eol:y"]
    opened = [(type(source), source.name, source.uri) for source in open_sources(told)]
    assert opened == [
        (INat21, "inat21", "/a"),
        (INat21, "birds", "/b"),
        (Folder, "photos", "s3://bucket/photos"),
        (Eol, "eol", "s3://bucket/eol"),
        (Folder, "x=eol:y", "/c/x=eol:y"),
    ]
    with pytest.raises(UserError, match=r"'inat' is no kind of source; the kinds are inat21, bioscan"):
        open_source("inat:/a")
    with pytest.raises(UserError, match="names no place"):
        open_source("eol:")


def test_two_sources_of_one_name_are_refused_until_one_is_named() -> None:
    with pytest.raises(
        UserError, match="two sources are called photos: name this one, as in photos2=folder:/a/photos"
    ):
        open_sources(["/a/photos", "/b/photos"])
    assert [source.name for source in open_sources(["photos2=folder:/a/photos", "/b/photos"])] == ["photos2", "photos"]

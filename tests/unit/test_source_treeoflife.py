"""TreeOfLife-10M's release, WebDataset shards with and without captions, and Rare Species."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from trygon.data.sources.rarespecies import RareSpecies
from trygon.data.sources.treeoflife import TreeOfLife
from trygon.data.sources.webdataset import WebDataset, parse_tags
from trygon.data.webdataset import write_webdataset
from trygon.taxonomy.captions import TextType, caption
from trygon.taxonomy.taxon import RANKS, Lineage, Taxon
from trygon.testing.sources import RAVEN, UUIDS, lineage_of, read_all, rows_of, write_csv, write_files, write_tar

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

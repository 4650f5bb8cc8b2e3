"""What the published scripts of TreeOfLife-10M get wrong when they read their sources, and is right here."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trygon.data.sources.bioscan import Bioscan
from trygon.data.sources.eol import Eol
from trygon.data.sources.eol_pages import PAGE_FIXES, common_names, page_lineages, scraped_names
from trygon.data.sources.inat21 import INat21
from trygon.data.sources.rarespecies import RareSpecies
from trygon.data.sources.treeoflife import TreeOfLife
from trygon.data.sources.webdataset import WebDataset
from trygon.data.webdataset import members
from trygon.taxonomy.names import clean_lineages
from trygon.taxonomy.tables import read_checklist
from trygon.taxonomy.taxon import RANKS

LINEAGE = ("Animalia", "Mollusca", "Bivalvia", "Unionida", "Unionidae", "Cyclonaias", "tuberculata")


def write_csv(path: Path, rows: Iterable[Sequence[Any]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def write_file(path: Path, data: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


MEDIA_HEADER = [
    *("EOL content ID", "EOL page ID", "Medium Source URL", "EOL Full-Size Copy URL", "License Name"),
    "Copyright Owner",
]


def media(content: int, page: int) -> list[str]:
    return [str(content), str(page), "https://a/b", "https://c/d", "cc-by-4.0", "Somebody"]


def taxon(name: str, parent: str, rank: str, page: str, taxon_id: str = "") -> str:
    """A line of taxon.tab, its id its name."""
    return "\t".join([taxon_id or name, parent, name, name, rank, page])


TAXON_HEADER = "taxonID\tparentNameUsageID\tscientificName\tcanonicalName\ttaxonRank\teolID"


def write_hierarchy(path: Path, *lines: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([TAXON_HEADER, *lines]) + "\n")
    return str(path)


def test_only_the_first_manifest_has_a_header_and_no_row_of_the_others_is_lost(tmp_path: Path) -> None:
    write_hierarchy(tmp_path / "taxon.tab", taxon("Cyclonaias", "", "genus", "7"))
    for number in range(1, 12):
        rows = [media(number, 7), media(100 + number, 7)]
        write_csv(tmp_path / f"media_manifest_{number}.csv", [MEDIA_HEADER, *rows] if number == 1 else rows)
    records = Eol(str(tmp_path)).records()
    expected = [f"{content}_7" for number in range(1, 12) for content in (number, 100 + number)]
    assert records["source_id"].to_pylist() == expected, "by number: 2 before 10"
    assert set(records["genus"].to_pylist()) == {"Cyclonaias"}


def test_a_manifest_that_repeats_the_header_has_no_row_of_it(tmp_path: Path) -> None:
    write_hierarchy(tmp_path / "taxon.tab", taxon("Cyclonaias", "", "genus", "7"))
    for number in (1, 2):
        write_csv(tmp_path / f"media_manifest_{number}.csv", [MEDIA_HEADER, media(number, 7)])
    assert Eol(str(tmp_path)).records()["source_id"].to_pylist() == ["1_7", "2_7"]


@pytest.mark.parametrize("word", ["preferred", "true", "t", "1"])
@pytest.mark.parametrize("other", ["", "false", "f", "0", "no"])
def test_a_name_is_preferred_when_it_says_so_and_not_when_it_says_anything(
    tmp_path: Path, word: str, other: str
) -> None:
    header = ["page_id", "canonical_form", "vernacular_string", "language_code", "resource_name"]
    rows = [
        ["7", "Corvus corax", "Rabe", "deu", "r", "", word],
        ["7", "Corvus corax", "Croaker", "eng", "r", word, other],
        ["7", "Corvus corax", "Raven", "eng", "r", "", word],
        ["8", "Bufo bufo", "Toad", "eng", "r", "", other],
    ]
    header += ["is_preferred_by_resource", "is_preferred_by_eol"]
    write_csv(tmp_path / "vernacularnames.csv", [header, *rows])
    names = common_names(pa.array(["8", "7", "9"]), str(tmp_path / "vernacularnames.csv"))
    assert names.to_pylist() == ["Toad", "Raven", ""]


def test_a_parent_without_a_page_does_not_end_the_walk(tmp_path: Path) -> None:
    path = write_hierarchy(
        tmp_path / "taxon.tab",
        taxon("Animalia", "", "kingdom", "1"),
        taxon("Unranked", "Animalia", "clade", ""),
        taxon("Unionidae", "Unranked", "family", ""),
        taxon("Cyclonaias", "Unionidae", "genus", "3"),
        taxon("Cyclonaias tuberculata", "Cyclonaias", "species", "4"),
    )
    lineage = page_lineages(pa.array(["4", "1"]), path)
    assert [lineage[rank].to_pylist() for rank in RANKS] == [
        ["Animalia", "Animalia"],
        ["", ""],
        ["", ""],
        ["", ""],
        ["Unionidae", ""],
        ["Cyclonaias", ""],
        ["Cyclonaias tuberculata", ""],
    ]


FULL_HEADER = "taxonID\tparentNameUsageID\tacceptedNameUsageID\tscientificName\ttaxonRank\ttaxonomicStatus\teolID"


def write_catalogue(path: Path, *rows: tuple[str, ...]) -> str:
    path.write_text("".join("\t".join(row) + "\n" for row in [tuple(FULL_HEADER.split("\t")), *rows]))
    return str(path)


def lineage_of(path: str, page: str) -> tuple[str, ...]:
    found = page_lineages(pa.array([page]), path)
    return tuple(found[rank].to_pylist()[0] for rank in RANKS)


def test_a_parent_that_is_a_synonym_leads_on_by_what_is_accepted_for_it(tmp_path: Path) -> None:
    path = write_catalogue(
        tmp_path / "taxon.tab",
        ("1", "", "", "Plantae", "kingdom", "accepted", "1"),
        ("2", "1", "", "Asteraceae", "family", "accepted", "2"),
        ("3", "", "2", "Compositae", "family", "synonym", "3"),
        ("4", "3", "", "Bellis", "genus", "accepted", "4"),
    )
    assert lineage_of(path, "4") == ("Plantae", "", "", "", "Asteraceae", "Bellis", "")


def test_a_synonym_of_a_synonym_is_what_the_last_one_stands_for(tmp_path: Path) -> None:
    path = write_catalogue(
        tmp_path / "taxon.tab",
        ("1", "", "", "Panthera", "genus", "accepted", "1"),
        ("2", "1", "", "Panthera leo", "species", "accepted", "2"),
        ("3", "", "2", "Leo leo", "species", "synonym", "3"),
        ("4", "", "3", "Felis leo", "species", "synonym", "4"),
        ("5", "1", "404", "Panthera lea", "species", "synonym", "5"),
        ("6", "1", "2", "Panthera tigris", "species", "misapplied", "6"),
    )
    assert lineage_of(path, "4")[5:] == ("Panthera", "Panthera leo")
    assert lineage_of(path, "5")[5:] == ("Panthera", "Panthera lea"), "it leads nowhere, and keeps its own name"
    assert lineage_of(path, "6")[5:] == ("Panthera", "Panthera tigris"), "what it was wrongly used for is not meant"


def test_a_division_is_a_phylum(tmp_path: Path) -> None:
    rows = [("1", "", "", "Tracheophyta", "division", "", "1"), ("2", "1", "", "Rosa", "genus", "", "2")]
    assert lineage_of(write_catalogue(tmp_path / "taxon.tab", *rows), "2")[1] == "Tracheophyta"


ids = st.sampled_from(["", "1", "2", "3", "4", "9"])


def _descends(rows: list[tuple[str, ...]]) -> bool:
    """Whether everything stands below what has a higher rank. Pages and backbones differ where a genus is below a
    species."""
    order = {rank: place for place, rank in enumerate(RANKS)} | {"division": RANKS.index("phylum")}
    ranks, leads_to = {row[0]: order.get(row[4]) for row in rows}, {row[0]: row[1:3] for row in rows}
    for number, parent, *_ in rows:
        above, pending = set[str](), [parent]
        while pending:
            here = pending.pop()
            if here in ranks and here not in above:
                above.add(here)
                pending += leads_to[here]
        own = ranks[number]
        if own is not None and any(rank is not None and rank >= own for rank in map(ranks.get, above)):
            return False
    return True


@settings(max_examples=40)  # each writes a catalogue and reads it twice
@given(st.lists(st.tuples(ids, ids, st.sampled_from([*RANKS, "division", "clade"])), min_size=1, max_size=4))
def test_pages_have_the_lineages_that_the_same_file_has_as_a_backbone(
    tmp_path_factory: pytest.TempPathFactory, taxa: list[tuple[str, str, str]]
) -> None:
    names = ("Aus", "Bus", "Cus", "Dus")
    rows = [
        (str(1 + place), parent, accepted, name + (" albus" if rank == "species" else ""), rank, "", f"7{place}")
        for place, (name, (parent, accepted, rank)) in enumerate(zip(names, taxa, strict=False))
    ]
    assume(_descends(rows))
    path = write_catalogue(tmp_path_factory.getbasetemp() / "taxon.tab", *rows)
    pages = page_lineages(pa.array([row[-1] for row in rows]), path)
    columns = {rank: pages[rank] for rank in RANKS}
    # A species below another genus than that of its name contradicts itself: a source gives the epithet up, a
    # catalogue goes by the name.
    genera = zip(pages["genus"].to_pylist(), pages["species"].to_pylist(), strict=True)
    assume(all(species.startswith(genus) for genus, species in genera if species))
    found = [tuple(row.values()) for row in clean_lineages(pa.table(columns)).to_pylist()]
    known = read_checklist(path)
    accepted = [tuple(row[rank] for rank in RANKS) for row in known.taxa.to_pylist()]
    named = {row["name"]: tuple(row[rank] for rank in RANKS) for row in known.synonyms.to_pylist()}
    assert set(accepted) <= set(found)
    for row, lineage in zip(rows, found, strict=True):
        if row[3] in named:
            assert lineage == named[row[3]]


@pytest.mark.parametrize("language", ["en", "eng", "English", "en-GB", "en_us"])
def test_english_has_the_same_codes_for_pages_and_for_a_backbone(tmp_path: Path, language: str) -> None:
    write_catalogue(tmp_path / "taxon.tab", ("1", "", "", "Corvus corax", "species", "accepted", "7"))
    header = ["page_id", "vernacular_string", "language_code", "is_preferred_by_eol"]
    rows = [["7", "Raven", language, ""], ["7", "Corbeau", "fr", "preferred"], ["7", " Common raven ", language, "T"]]
    write_csv(tmp_path / "vernacularnames.csv", [header, *rows])
    of_pages = common_names(pa.array(["7", ""]), str(tmp_path / "vernacularnames.csv")).to_pylist()
    assert of_pages == ["Common raven", ""]
    assert read_checklist(tmp_path / "taxon.tab").taxa["common"].to_pylist() == of_pages[:1]


def test_a_circle_of_parents_ends(tmp_path: Path) -> None:
    path = write_hierarchy(tmp_path / "t.tab", taxon("A", "B", "family", "1"), taxon("B", "A", "genus", "2"))
    lineage = page_lineages(pa.array(["2"]), path)
    assert (lineage["family"].to_pylist(), lineage["genus"].to_pylist()) == (["A"], ["B"])


def test_homonyms_keep_their_own_ancestors(tmp_path: Path) -> None:
    path = write_hierarchy(
        tmp_path / "taxon.tab",
        taxon("Plantae", "", "kingdom", "1"),
        taxon("Animalia", "", "kingdom", "2"),
        taxon("Oenanthe", "Plantae", "genus", "3", "P"),
        taxon("Oenanthe", "Animalia", "genus", "4", "A"),
        taxon("Oenanthe oenanthe", "A", "species", "5"),
    )
    assert page_lineages(pa.array(["3", "4", "5"]), path)["kingdom"].to_pylist() == ["Plantae", "Animalia", "Animalia"]


def test_the_two_pages_that_the_hierarchy_has_wrong_are_put_right(tmp_path: Path) -> None:
    path = write_hierarchy(
        tmp_path / "taxon.tab",
        taxon("Ranidae", "", "family", "10"),
        taxon("Hylarana", "Ranidae", "genus", "42333"),
        taxon("Wrong wrong", "", "species", "331434"),
    )
    lineage = page_lineages(pa.array([*PAGE_FIXES, "10"]), path)
    assert lineage["species"].to_pylist() == ["latouchii", "lateralis", ""]
    assert lineage["genus"].to_pylist() == ["Hylarana", "Hylarana", ""]
    assert lineage["family"].to_pylist() == ["Ranidae"] * 3


def test_a_scraped_family_does_not_become_an_epithet(tmp_path: Path) -> None:
    rows = [["page_id", "scientific_name"], ["1", "Criconematidae"], ["2", "Corvus corax"], ["3", "Aves"]]
    write_csv(tmp_path / "scraped_page_ids.csv", rows)
    names = scraped_names(pa.array(["1", "2", "3", "4"]), str(tmp_path / "scraped_page_ids.csv"))
    assert names["family"].to_pylist() == ["Criconematidae", "", "", ""]
    assert names["species"].to_pylist() == ["", "Corvus corax", "", ""]


def test_a_row_without_a_page_is_not_the_first_taxon_without_one(tmp_path: Path) -> None:
    path = write_hierarchy(tmp_path / "taxon.tab", taxon("Nobody", "", "genus", ""))
    assert page_lineages(pa.array([""]), path)["genus"].to_pylist() == [""]


def test_quotation_marks_in_the_hierarchy_swallow_no_lines(tmp_path: Path) -> None:
    path = write_hierarchy(
        tmp_path / "taxon.tab",
        taxon('"Cyclonaias', "", "genus", "1"),
        taxon("Bufo", "", "genus", "2"),
        taxon('Rana"', "", "genus", "3"),
    )
    assert page_lineages(pa.array(["2", "3"]), path)["genus"].to_pylist() == ["Bufo", 'Rana"']


def test_rows_of_train_small_repeat_those_of_train_and_count_once(tmp_path: Path) -> None:
    header = ["split", "treeoflife_id", "eol_content_id", "eol_page_id", *RANKS, "common"]
    rows = [[split, name, "1", "2", *LINEAGE, ""] for split, name in (("train", "a"), ("train_small", "a"))]
    write_csv(tmp_path / "metadata" / "catalog.csv", [header, *rows, ["val", "b", "3", "2", *LINEAGE, ""]])
    assert TreeOfLife(str(tmp_path)).records()["source_id"].to_pylist() == ["a", "b"]


def test_shards_of_train_small_repeat_those_of_train_and_count_once(tmp_path: Path) -> None:
    for split in ("train", "train_small", "val"):
        write_file(tmp_path / "224x224" / split / "shard-000000.tar")
    kept = [unit.uri for unit in WebDataset(str(tmp_path)).units()]
    assert kept == [str(tmp_path / "224x224" / split / "shard-000000.tar") for split in ("train", "val")]
    assert WebDataset(str(tmp_path / "224x224" / "train_small")).units(), "read where they are all that was asked for"


def test_class_is_read_whether_it_is_called_class_or_cls(tmp_path: Path) -> None:
    header = ["split", "treeoflife_id", "eol_content_id", *("cls" if rank == "class" else rank for rank in RANKS)]
    write_csv(tmp_path / "metadata" / "catalog.csv", [header, ["train", "a", "1", *LINEAGE]])
    assert TreeOfLife(str(tmp_path)).records()["class"].to_pylist() == ["Bivalvia"]


def test_a_hyphen_in_a_name_does_not_shift_the_ranks_of_a_rare_species(tmp_path: Path) -> None:
    hyphened = ("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Nymphalidae", "Polygonia", "c-album")
    header = ["rarespecies_id", "eol_content_id", "eol_page_id", *RANKS, "sciName", "common"]
    row = ["r1", "11", "12", *hyphened, "Polygonia c-album", "Comma"]
    write_csv(tmp_path / "metadata" / "rarespecies-catalog.csv", [header, row])
    write_file(tmp_path / "dataset" / "-".join(hyphened) / "11_12_eol-full-size-copy.jpg")
    source = RareSpecies(str(tmp_path))
    record = source.records().to_pylist()[0]
    assert tuple(record[rank] for rank in RANKS) == hyphened
    assert [picture.source_id for unit in source.units() for picture in source.read(unit)] == ["r1"]


@pytest.mark.parametrize("folder", ["00001_Animalia_Chordata_Aves", "00001_A_B_C_D_E_Genus_two_words", "notes"])
def test_a_folder_of_more_or_fewer_than_eight_parts_ends_nothing(tmp_path: Path, folder: str) -> None:
    write_file(tmp_path / "train" / folder / "a.jpg")
    write_file(tmp_path / "train" / ("00002_" + "_".join(LINEAGE)) / "b.jpg")
    source = INat21(str(tmp_path))
    assert [row["species"] for row in source.records().to_pylist()] == ["tuberculata"]
    assert len([picture for unit in source.units() for picture in source.read(unit)]) == 2


def test_blank_ranks_of_a_caption_are_told_apart_and_not_moved_up(tmp_path: Path) -> None:
    import io
    import tarfile

    lineage = ("Animalia", "", "", "Lepidoptera", "", "Polygonia", "")
    sample = {"sample_id": 1, "image": b"x", **dict(zip(RANKS, lineage, strict=True)), "common": ""}
    for name, lower in (("a", False), ("b", True)):
        with tarfile.open(tmp_path / f"shard-{name}.tar", "w") as tar:
            for extension, data in members(sample).items():
                info = tarfile.TarInfo(f"{name}.{extension.lower() if lower else extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    rows = WebDataset(str(tmp_path)).records().to_pylist()
    assert [row["source_id"] for row in rows] == ["a", "b"], "taxonTag and taxontag, as open_clip's loader names it"
    assert {tuple(row[rank] for rank in RANKS) for row in rows} == {lineage}


def test_a_family_of_bioscan_has_neither_genus_nor_species_called_not_classified(tmp_path: Path) -> None:
    header = ["image_file", "order", "family", "genus", "species"]
    row = ["1.jpg", "Diptera", "Sciaridae", "not_classified", "not_classified"]
    write_csv(tmp_path / "BIOSCAN_Insect_Dataset_metadata.tsv", [header, row], "\t")
    record = Bioscan(str(tmp_path)).records().to_pylist()[0]
    assert (record["genus"], record["species"], record["license"]) == ("", "", "")

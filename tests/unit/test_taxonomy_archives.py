"""Darwin Core archives of taxa, as their publishers write them and as they should not."""

import time
from pathlib import Path

import pytest

from trygon.errors import UserError
from trygon.taxonomy.tables import read_checklist
from trygon.taxonomy.taxon import Rank
from trygon.testing.checklists import (
    LION,
    NAMES,
    TAXA_TEXT,
    lineages_of,
    lion_up_to,
    meta_of,
    synonyms_of,
    write_archive,
)


@pytest.mark.parametrize("folder", ["", "dwca-1.0/"])
def test_darwin_core_archive(tmp_path: Path, folder: str) -> None:
    members = {"meta.xml": meta_of(), "taxa.txt": TAXA_TEXT, "names.csv": NAMES}
    path = write_archive(tmp_path / "cats.zip", {folder + name: content for name, content in members.items()})
    checklist = read_checklist(path)
    assert lineages_of(checklist) == [lion_up_to(rank) for rank in Rank]
    assert set(synonyms_of(checklist)) == {"Felis leo", "Leo leo", "Tigris"}
    common = dict(zip(map(tuple, lineages_of(checklist)), checklist.taxa["common"].to_pylist(), strict=True))
    # The name first marked as preferred, whatever stands before it: "False" is no mark.
    assert common[LION] == "lion"
    assert common[lion_up_to(Rank.FAMILY)] == "cats"
    assert common[lion_up_to(Rank.GENUS)] == ""


@pytest.mark.parametrize("cell", ['"P, leo"', '"P,\nleo"', '"P ""leo"", x"', "P leo"])
def test_the_first_row_of_an_archive_may_hold_the_delimiter_in_quotes(tmp_path: Path, cell: str) -> None:
    meta = meta_of(("taxonID", "vernacular", "scientificName", "taxonRank")).replace(r'"\t"', '","', 1)
    assert meta.count('fieldsEnclosedBy=""') == 1
    meta = meta.replace('fieldsEnclosedBy=""', "fieldsEnclosedBy='&quot;'", 1)
    rows = f"1,{cell},Panthera leo,species\n2,x,Panthera onca,species\n"
    members = {"meta.xml": meta, "taxa.txt": rows, "names.csv": NAMES}
    checklist = read_checklist(write_archive(tmp_path / "cats.zip", members))
    assert [lineage[-1] for lineage in lineages_of(checklist)] == ["leo", "onca"]
    assert not checklist.left_out


def test_archive_with_rank_columns_and_constants_needs_no_parents(tmp_path: Path) -> None:
    terms = ("taxonID", "phylum", "class", "order", "family", "genus", "specificEpithet", "taxonRank")
    constant = '<field term="http://rs.tdwg.org/dwc/terms/kingdom" default="Animalia"/></core>'
    text = "\t".join(["8", *LION[1:], "SPECIES"]) + "\tmore\n"  # a column that is not described
    members = {"meta.xml": meta_of(terms).replace("</core>", constant, 1), "taxa.txt": text, "names.csv": NAMES}
    assert lineages_of(read_checklist(write_archive(tmp_path / "cats.zip", members))) == [LION]


def test_entities_of_a_description_are_not_expanded(tmp_path: Path) -> None:
    entities = '<!ENTITY a0 "lol">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f"<!DOCTYPE archive [{entities}]><archive><core>&a11;</core></archive>"
    started = time.process_time()
    for text in (bomb.encode(), bomb.encode("utf-16")):
        with pytest.raises(UserError, match="document type"):
            read_checklist(write_archive(tmp_path / "bomb.zip", {"meta.xml": text}))
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"taxa.txt": TAXA_TEXT}, "no meta.xml"),
        ({"meta.xml": "<archive>"}, "no XML"),
        ({"meta.xml": "<archive/>"}, "no table of taxa"),
        ({"meta.xml": " " * (1 << 21)}, "larger than"),
        ({"meta.xml": meta_of()}, "taxa.txt"),
        ({"meta.xml": meta_of().replace('index="3"', 'index="1e9"', 1), "taxa.txt": ""}, "1e9"),
        ({"meta.xml": meta_of().replace('index="3"', 'index="999999999"', 1), "taxa.txt": ""}, "999999999"),
        ({"meta.xml": meta_of().replace("UTF-8", "klingon"), "taxa.txt": TAXA_TEXT}, "klingon"),
        ({"meta.xml": meta_of(), "taxa.txt": "", "names.csv": NAMES}, "mpty"),
    ],
)
def test_what_is_wrong_with_an_archive_is_one_line(tmp_path: Path, members: dict[str, str], problem: str) -> None:
    path = write_archive(tmp_path / "broken.zip", members)
    with pytest.raises(UserError, match=problem) as caught:
        read_checklist(path)
    assert str(path) in str(caught.value)


def test_torn_archive_is_a_user_error(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.zip", {"meta.xml": meta_of(), "taxa.txt": TAXA_TEXT * 500, "names.csv": NAMES})
    whole = path.read_bytes()
    middle = len(whole) // 3
    for data in (whole[: len(whole) // 2], b"", whole[:middle] + b"\xff" * 64 + whole[middle + 64 :]):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"a\.zip"):
            read_checklist(path)

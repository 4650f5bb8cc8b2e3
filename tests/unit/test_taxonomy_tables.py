"""Files of taxa in all their forms, as their publishers write them and as they should not."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.errors import UserError
from trygon.storage import write_bytes
from trygon.taxonomy.darwin_core import checklist_tables, nearest_ancestors
from trygon.taxonomy.names import clean_binomial
from trygon.taxonomy.tables import SYNONYM_SCHEMA, TAXA_SCHEMA, read_checklist, read_taxa
from trygon.taxonomy.taxon import RANKS, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.taxonomy.words import COMMON, PLACEHOLDERS, UNKNOWN
from trygon.taxonomy.written import read_names
from trygon.testing.checklists import (
    CATS,
    LION,
    NAMES,
    TAXA_TEXT,
    TAXA_TEXT_WITH_HEADER,
    TERMS,
    lineages_of,
    lion_up_to,
    meta_of,
    synonyms_of,
    write_archive,
)
from trygon.testing.s3 import s3_server, using


def _write(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = TERMS, delimiter: str = "\t") -> Path:
    path.write_text("".join(delimiter.join(row) + "\n" for row in [header, *rows]))
    return path


def test_taxon_tab_gives_every_rank_by_way_of_the_parents(tmp_path: Path) -> None:
    checklist = read_checklist(_write(tmp_path / "taxon.tab", CATS))
    assert checklist.taxa.schema.equals(TAXA_SCHEMA)
    assert checklist.synonyms.schema.equals(SYNONYM_SCHEMA)
    assert lineages_of(checklist) == [lion_up_to(rank) for rank in Rank]
    assert checklist.left_out == {"none of the seven ranks": 2}


def test_synonyms_lead_to_what_is_accepted_also_by_way_of_each_other(tmp_path: Path) -> None:
    checklist = read_checklist(_write(tmp_path / "taxon.tab", CATS))
    assert synonyms_of(checklist) == {"Felis leo": LION, "Leo leo": LION, "Tigris": lion_up_to(Rank.GENUS)}


def test_taxa_of_a_catalogue_are_its_species_or_whatever_it_has(tmp_path: Path) -> None:
    assert read_taxa(_write(tmp_path / "taxon.tab", CATS)).to_pylist() == [
        dict(zip(RANKS, LION, strict=True), common="")
    ]
    assert read_taxa(_write(tmp_path / "taxon.tab", CATS[:7])).num_rows == 6
    assert len(TaxonTree.load(tmp_path / "taxon.tab")) == 6


def test_synonym_of_a_subspecies_is_one_of_its_species(tmp_path: Path) -> None:
    rows = [*CATS, ("13", "", "11", "Felis goojratensis Smee, 1833", "species", "synonym")]
    assert synonyms_of(read_checklist(_write(tmp_path / "taxon.tab", rows)))["Felis goojratensis"] == LION


@pytest.mark.parametrize(
    ("name", "rank", "reason"),
    [
        ("Panthera sp. 1", "species", "no usable name"),
        ("Panthera sp", "species", "no usable name"),
        ("Panthera leo x tigris", "species", "no usable name"),
        ("Panthera × onca", "species", "no usable name"),
        ("Tobacco mosaic virus", "species", "no usable name"),
        ("incertae sedis", "family", "no usable name"),
        ("Incertae sedis", "family", "no usable name"),
        ("", "genus", "no usable name"),
        ("Panthera leo", "", "none of the seven ranks"),
        ("Pantherini", "tribe", "none of the seven ranks"),
    ],
)
def test_what_names_no_taxon_is_counted_by_reason(tmp_path: Path, name: str, rank: str, reason: str) -> None:
    checklist = read_checklist(_write(tmp_path / "taxon.tab", [*CATS[:8], ("20", "7", "", name, rank, "accepted")]))
    assert len(lineages_of(checklist)) == 7
    assert checklist.left_out[reason] == 1 + (reason == "none of the seven ranks")


PLANTS = [("1", "", "", "Plantae", "kingdom", "accepted"), ("2", "1", "", "Fagaceae", "family", "accepted")]
MICROBES = [("3", "", "", "Bacteria", "kingdom", "accepted")]


@pytest.mark.parametrize(
    ("name", "parent", "rank", "read"),
    [
        ("Quercus × rosacea Bechst.", "2", "species", ("Quercus", "rosacea")),
        ("Quercus ×rosacea", "2", "species", ("Quercus", "rosacea")),
        ("×Cupressocyparis", "2", "genus", ("Cupressocyparis", "")),
        ("× Cupressocyparis leylandii", "2", "species", ("Cupressocyparis", "leylandii")),
        ("†Quercus fossilis Somebody", "2", "species", ("Quercus", "fossilis")),
        ("<i>Quercus alba</i> L.", "2", "species", ("Quercus", "alba")),
        ("QUERCUS RUBRA", "2", "species", ("Quercus", "rubra")),
        ("Quercus rubra subsp. minor", "2", "species", ("Quercus", "rubra")),
        ("Quercus d'urvillei", "2", "species", ("Quercus", "durvillei")),
        ("Quercus larva", "2", "species", ("Quercus", "larva")),  # the catalogue says that it is a species
        ("Candidatus Liberibacter asiaticus", "3", "species", ("Liberibacter", "asiaticus")),
        ("Candidatus Liberibacter", "3", "genus", ("Liberibacter", "")),
        ("[Clostridium] difficile", "3", "species", ("Clostridium", "difficile")),
    ],
)
def test_names_of_a_catalogue_that_are_not_plain_are_read_as_those_of_sources(
    tmp_path: Path, name: str, parent: str, rank: str, read: tuple[str, str]
) -> None:
    rows = [*PLANTS, *MICROBES, ("20", parent, "", name, rank, "accepted")]
    assert lineages_of(read_checklist(_write(tmp_path / "taxon.tab", rows)))[-1][5:] == read
    # As a canonical name, which wins.
    rows = [(*row[:3], "Wrong", *row[4:], row[3]) for row in rows]
    assert lineages_of(read_checklist(_write(tmp_path / "taxon.tab", rows, (*TERMS, "canonicalName"))))[-1][5:] == read


def test_a_synonym_s_hybrid_is_read_by_the_kingdom_of_what_it_stands_for(tmp_path: Path) -> None:
    rows = [*PLANTS, ("3", "2", "", "Quercus rosacea", "species", ""), ("4", "", "3", "Quercus × rosa", "species", "")]
    checklist = read_checklist(_write(tmp_path / "taxon.tab", rows))
    assert list(synonyms_of(checklist)) == ["Quercus rosa"]


def test_placeholders_are_the_same_for_catalogues_and_sources(tmp_path: Path) -> None:
    # The names of animals' diseases among them, and small words that are no names at all.
    for word in sorted(PLACEHOLDERS | UNKNOWN | COMMON):
        names = pa.array([f"Quercus {word}", f"Quercus {word} L."])
        first, epithet = read_names(names, pa.array(["", ""]), np.full(2, True), np.full(2, False))
        assert set(epithet.to_pylist()) == {""}, word
        assert set(first.to_pylist()) <= {"", "Quercus"}


words = st.sampled_from(
    [
        "Quercus",
        "rubra",
        "alba",
        "L.",
        "(Linnaeus,",
        "1758)",
        "&",
        "Mill.",
        "de",
        "×",
        "sp.",
        "cf.",
        "auct.",
        "non",
        ",",
    ]
)


@given(st.lists(words, min_size=1, max_size=6).map(" ".join))
def test_what_is_plain_in_a_catalogue_is_what_it_is_in_a_source(text: str) -> None:
    first, epithet = read_names(pa.array([text]), pa.array(["Plantae"]), np.full(1, True), np.full(1, False))
    assert (first[0].as_py() if epithet[0].as_py() else "", epithet[0].as_py()) == clean_binomial(text, "", "Plantae")


@pytest.mark.parametrize(
    ("accepted", "status"),
    [("99", "synonym"), ("20", "synonym"), ("", "synonym"), ("8", "misapplied"), ("21", "not accepted")],
)
def test_synonym_that_leads_nowhere_is_counted(tmp_path: Path, accepted: str, status: str) -> None:
    # 20 and 21 are each the other's synonym, or 20 its own without being accepted.
    rows = [("20", "", accepted, "Felis leo", "species", status), ("21", "", "20", "Felis", "genus", "synonym")]
    checklist = read_checklist(_write(tmp_path / "taxon.tab", [*CATS[:8], *rows]))
    assert checklist.left_out["not accepted"] == 2
    assert checklist.synonyms.num_rows == 0
    assert len(lineages_of(checklist)) == 7


def test_missing_parents_leave_blanks_and_circles_come_to_an_end(tmp_path: Path) -> None:
    rows = [
        ("1", "404", "", "Panthera leo", "species", ""),
        ("2", "3", "", "Bidae", "family", ""),
        ("3", "2", "", "Bus", "genus", ""),
        ("4", "4", "", "Chordata", "phylum", ""),
    ]
    checklist = read_checklist(_write(tmp_path / "taxon.tab", rows))
    assert lineages_of(checklist) == [
        ("", "", "", "", "", "Panthera", "leo"),
        ("", "", "", "", "Bidae", "", ""),
        ("", "", "", "", "Bidae", "Bus", ""),
        ("", "Chordata", "", "", "", "", ""),
    ]


def test_line_of_a_catalogue_with_other_columns_is_counted(tmp_path: Path) -> None:
    path = _write(tmp_path / "taxon.tab", CATS[:3])
    path.write_text(path.read_text() + "4\t3\n" + "\t".join(CATS[3]) + "\n")
    checklist = read_checklist(path)
    assert lineages_of(checklist) == [lion_up_to(rank) for rank in list(Rank)[:4]]
    assert checklist.left_out == {"wrong number of columns": 1}


def test_quotes_in_a_tab_file_are_letters(tmp_path: Path) -> None:
    rows = [*CATS[:8], ("20", "7", "", 'Panthera onca "Linnaeus', "species", "accepted"), *CATS[8:]]
    assert len(lineages_of(read_checklist(_write(tmp_path / "taxon.tab", rows)))) == 8


def test_english_names_of_eol_are_read_beside_the_taxa(tmp_path: Path) -> None:
    header = (*TERMS, "eolID")
    _write(tmp_path / "taxon.tab", [(*row, f"9{row[0]}") for row in CATS], header)
    columns = "page_id,canonical_form,vernacular_string,language_code,resource_name,is_preferred_by_resource,"
    columns += "is_preferred_by_eol"
    lines = [
        "98,x,African lion,eng,r,,",
        "98,x,Löwe,deu,r,,preferred",
        "98,x,lion,eng,r,,preferred",
        "97,x,cats,eng,r,,",
    ]
    (tmp_path / "vernacularnames.csv").write_text("\n".join([columns, *lines]))
    names = {
        row["genus"] + row["species"]: row["common"] for row in read_checklist(tmp_path / "taxon.tab").taxa.to_pylist()
    }
    assert names == {"": "", "Panthera": "cats", "Pantheraleo": "lion"}


INAT = ("id", *RANKS[:-1], "specificEpithet", "infraspecificEpithet", "scientificName", "taxonRank")
INAT_ROWS = [
    ("1", *LION[:1], *[None] * 7, "Animalia", "kingdom"),
    ("41962", *LION[:6], None, None, "Panthera", "genus"),
    ("41964", *LION, None, "Panthera leo", "species"),
    ("5", *LION, "persica", "Panthera leo persica", "subspecies"),
    ("6", *LION[:6], "×", None, "Panthera × onca", "hybrid"),
    ("7", *LION[:6], None, None, "Panthera leo", "complex"),
    ("8", *LION[:5], None, "minutus", None, "Leoides minutus", "species"),
    ("9", *LION[:6], "-leo-", None, "Panthera -leo-", "species"),
]


@pytest.fixture(params=["parquet", "csv"])
def inat(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "parquet":
        columns = [pa.array(column, pa.large_string()) for column in zip(*INAT_ROWS, strict=True)]
        pq.write_table(pa.table([columns[0].cast(pa.int64()), *columns[1:]], names=INAT), tmp_path / "taxa.parquet")
        return tmp_path / "taxa.parquet"
    # The archive's own file has addresses as ids, and parents, which are not needed.
    header = ("id", "taxonID", "parentNameUsageID", *INAT[1:])
    rows = [(row[0], f"https://x/{row[0]}", "https://x/1", *(it or "" for it in row[1:])) for row in INAT_ROWS]
    (tmp_path / "VernacularNames-english.csv").write_text("id,vernacularName,language\n41964,lion,en\n")
    return _write(tmp_path / "taxa.csv", rows, header, delimiter=",")


def test_inaturalist_in_both_forms(inat: Path) -> None:
    checklist = read_checklist(inat)
    assert lineages_of(checklist) == [
        lion_up_to(Rank.KINGDOM),
        lion_up_to(Rank.GENUS),
        LION,
        (*LION[:5], "Leoides", "minutus"),
    ]
    assert checklist.left_out == {"none of the seven ranks": 3, "no usable name": 1}
    assert checklist.taxa["common"].to_pylist() == ["", "", "lion" if inat.suffix == ".csv" else "", ""]
    assert read_taxa(inat)["species"].to_pylist() == ["leo", "minutus"]


def test_plain_tables_are_taken_as_they_are_and_tell_no_synonyms(tmp_path: Path) -> None:
    rows = [(*LION, "Lion; the"), ("Plantae", *[""] * 6, "plants")]
    tables = [
        _write(tmp_path / "a.csv", rows, (*RANKS, "common"), ","),
        _write(tmp_path / "b.tsv", rows, (*RANKS, "common")),
    ]
    (tmp_path / "c.csv").write_bytes(b"\xef\xbb\xbf" + tables[0].read_bytes().replace(b"\n", b"\r\n"))
    pq.write_table(
        pa.table(dict(zip(TAXA_SCHEMA.names, zip(*rows, strict=True), strict=True))), tmp_path / "d.parquet"
    )
    for path in (*tables, tmp_path / "c.csv", tmp_path / "d.parquet"):
        checklist = read_checklist(path)
        assert [tuple(row.values()) for row in checklist.taxa.to_pylist()] == rows, path
        assert checklist.taxa.equals(read_taxa(path))
        assert checklist.synonyms.equals(SYNONYM_SCHEMA.empty_table())


def test_plain_table_without_common_names_or_with_nulls_is_blank_there(tmp_path: Path) -> None:
    pq.write_table(
        pa.table([[None if rank == "species" else "A"] for rank in RANKS], names=RANKS), tmp_path / "a.parquet"
    )
    assert read_taxa(tmp_path / "a.parquet").to_pylist() == [
        {**dict.fromkeys(RANKS, "A"), "species": "", "common": ""}
    ]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.csv", "kingdom,phylum\nAnimalia,Chordata\n", "no column 'class'"),
        ("a.csv", "", "no column 'kingdom'"),
        ("a.csv", ",".join(RANKS) + "\nAnimalia\n", r"Expected 7 columns"),
        ("a.parquet", "kingdom", "neither Parquet"),
        ("a", "kingdom", "neither Parquet"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line(tmp_path: Path, name: str, text: str, problem: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=problem) as caught:
        read_taxa(tmp_path / name)
    assert name in str(caught.value)


def test_folder_and_nothing_are_no_taxa(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_checklist(tmp_path / "none.zip")
    with pytest.raises(UserError, match="cannot be read"):
        read_checklist(tmp_path)


def test_taxa_are_read_from_object_storage(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.zip", {"meta.xml": meta_of(), "taxa.txt": TAXA_TEXT, "names.csv": NAMES})
    with s3_server("shelf") as address, using(address):
        write_bytes("s3://shelf/x/cats.zip", archive.read_bytes())
        write_bytes("s3://shelf/x/taxon.tab", TAXA_TEXT_WITH_HEADER.encode())
        write_bytes("s3://shelf/x/vernacularnames.csv", b"page_id,vernacular_string,language_code\n8,lion,eng\n")
        from_archive, from_text = (read_taxa(f"s3://shelf/x/{name}") for name in ("cats.zip", "taxon.tab"))
        tree = TaxonTree.load("s3://shelf/x/cats.zip")
        tree.save("s3://shelf/x/tree.parquet")
        assert TaxonTree.load("s3://shelf/x/tree.parquet").taxa == [Taxon(LION, "lion")]
        with pytest.raises(UserError, match=r"s3://shelf/x/none\.parquet does not exist"):
            read_taxa("s3://shelf/x/none.parquet")
    assert [row["species"] for row in from_archive.to_pylist() + from_text.to_pylist()] == ["leo", "leo"]


@given(st.data())
def test_nearest_ancestors_are_those_found_by_walking(data: st.DataObject) -> None:
    num_rows = data.draw(st.integers(1, 30))
    parent_N = np.asarray(data.draw(st.lists(st.integers(-1, num_rows - 1), min_size=num_rows, max_size=num_rows)))
    rank_N = np.asarray(data.draw(st.lists(st.integers(-1, 6), min_size=num_rows, max_size=num_rows)), np.int8)
    near = nearest_ancestors(parent_N, rank_N)
    for row in range(num_rows):
        found, here = dict.fromkeys(range(7), -1), row
        for _ in range(num_rows + 1):
            if found.get(rank_N[here]) == -1:
                found[rank_N[here]] = here
            here = parent_N[here]
            if here < 0:
                break
        assert near[:, row].tolist() == list(found.values())


@given(
    st.lists(
        st.tuples(
            *[st.sampled_from(["", "1", "2", "3", "4", "99"])] * 3,
            st.sampled_from(["", "Aus", "Aus bus", "Bus bus L.", "Bus x cus", "cus"]),
            st.sampled_from(["", "genus", "species", "kingdom", "FAMILY", "clade"]),
            st.sampled_from(["", "accepted", "synonym"]),
        ),
        max_size=8,
    )
)
def test_every_row_of_any_catalogue_is_a_taxon_a_synonym_or_counted(rows: list[tuple[str, ...]]) -> None:
    columns = zip(*rows, strict=True) if rows else [[] for _ in TERMS]
    table = pa.table([pa.array(column, pa.string()) for column in columns], names=TERMS)
    taxa, synonyms, left_out = checklist_tables(table)
    assert taxa.num_rows + synonyms.num_rows + left_out.total() == len(rows)
    for lineage in taxa.select(RANKS).to_pylist() + synonyms.select(RANKS).to_pylist():
        assert any(lineage.values())
        assert lineage["genus"] or not lineage["species"]


def test_a_quotation_mark_that_nothing_closes_ends_a_table_and_no_catalogue(tmp_path: Path) -> None:
    rows = [f"Animalia,,,,,Felis,s{number},cat {number}" for number in range(9)]
    rows[3] = rows[3].replace("cat", '"cat')
    (tmp_path / "own.csv").write_text("\n".join([",".join([*RANKS, "common"]), *rows]))
    with pytest.raises(UserError, match=r"own\.csv is not a CSV .* line 5 has one that nothing closes"):
        read_taxa(tmp_path / "own.csv")
    rows = [f"species,Felis {letter * 4}" for letter in "abcdefghi"]
    rows[3] = rows[3].replace("Felis", '"Felis')
    (tmp_path / "catalogue.csv").write_text("\n".join(["taxonRank,scientificName", *rows]))
    checklist = read_checklist(tmp_path / "catalogue.csv")
    assert checklist.left_out == {"wrong number of columns": 1}
    assert [lineage[-1] for lineage in lineages_of(checklist)] == [letter * 4 for letter in "abcefghi"]


def test_taxa_with_line_ends_of_old_macintoshes(tmp_path: Path) -> None:
    (tmp_path / "taxa.csv").write_text("\r".join([",".join(RANKS), ",".join(LION), ""]), newline="")
    assert read_taxa(tmp_path / "taxa.csv").num_rows == 1


def test_what_r_writes_for_nothing_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "taxa.csv").write_text(",".join([*RANKS, "common"]) + "\n" + ",".join([*LION[:5], "NA", "NA", "NA"]))
    assert read_taxa(tmp_path / "taxa.csv").to_pylist() == [
        dict(zip(RANKS, (*LION[:5], "", ""), strict=True), common="")
    ]


def test_lines_of_names_beside_a_catalogue_that_are_lost_are_counted(tmp_path: Path) -> None:
    names = ["page_id,vernacular_string,language_code", '7,"cats,eng', "8,lion,eng"]
    (tmp_path / "vernacularnames.csv").write_text("\n".join(names))
    checklist = read_checklist(_write(tmp_path / "taxon.tab", CATS))
    assert checklist.left_out["wrong number of columns"] == 1

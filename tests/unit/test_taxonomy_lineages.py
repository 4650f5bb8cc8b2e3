"""Raw lineages to clean ones, row by row and as tables; what holds for any text."""

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.data.synthetic.tree import grow
from trygon.taxonomy.names import clean_binomial, clean_lineage, clean_lineages, clean_name
from trygon.taxonomy.taxon import RANKS


def test_a_common_name_of_unknown_words_is_taken_for_a_binomial() -> None:
    # Nothing in its shape speaks against it; resolving it against a backbone does.
    assert clean_lineage(["Animalia", "", "", "", "", "", "Tiny foobar"])[5:] == ("Tiny", "foobar")


def test_cleaning_changes_no_name_of_a_whole_tree() -> None:
    tree = grow(5000, 1)
    rows = [tree.lineage(species) for species in range(tree.num_species)]
    table = pa.table([pa.array(column) for column in zip(*rows, strict=True)], names=RANKS)
    assert clean_lineages(table).equals(table)
    # Nor as binomials with the authors that sources write.
    for kingdom, *_, genus, epithet in rows:
        for text in (f"{genus} {epithet}", f"{genus} {epithet} (Linnaeus, 1758)"):
            assert clean_lineage((kingdom, "", "", "", "", "", text))[5:] == (genus, epithet)


def test_hybrid_genus_is_a_genus() -> None:
    for sign in ("×", "x ", "× ", "x"):
        raw = f"{sign}Cupressocyparis leylandii"
        assert clean_lineage(["Plantae", "", "", "", "", "", raw])[5:] == ("Cupressocyparis", "leylandii")


def test_lineage_of_inat21() -> None:
    raw = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo")
    assert clean_lineage(raw) == raw


@pytest.mark.parametrize(
    ("raw", "binomial"),
    [
        ("Panthera leo", ("Panthera", "leo")),
        ("PANTHERA LEO", ("Panthera", "leo")),
        ("Panthera leo persica (Meyer, 1826)", ("Panthera", "leo")),
        ("Aedes (Stegomyia) aegypti", ("Aedes", "aegypti")),
    ],
)
def test_species_without_genus_takes_it_from_its_binomial(raw: str, binomial: tuple[str, str]) -> None:
    assert clean_lineage(["Metazoa", None, None, None, None, "unknown", raw]) == (
        "Animalia",
        "",
        "",
        "",
        "",
        *binomial,
    )


@pytest.mark.parametrize(
    "species",
    [
        "Felidae sp.",
        "Felidae leo",
        "Unknown species 3",
        "leo",
        "Felidae",
        "P. leo",
        "Giant stick insect",
        "Panthera Oken",
        "Diptera larva",
        "Influenza A virus",
        "Bat coronavirus RacCS264",
        "Wolf",
        "panthera leo",
        "Leo × tigris",
        "Agyneta larva",  # a real one, but for whoever does not know the genus it is as likely a stage of life
        *(
            "Red fox",
            "American robin",
            "Blue jay",
            "Sea urchin",
            "Golden retriever",
            "Northern parula",
            "Ground finches",
        ),
        *("Red Fox", "Arctic wolves", "House mice"),
    ],
)
def test_no_genus_is_taken_from_what_is_known_to_be_no_binomial(species: str) -> None:
    assert clean_lineage(["Animalia", "", "", "", "Felidae", "", species])[5:] == ("", "")


def test_kingdoms_have_one_name_and_those_of_viruses_their_own() -> None:
    for alias, kingdom in {
        "Metazoa": "Animalia",
        "ARCHAEPLASTIDA": "Plantae",
        "chloroplastida": "Plantae",
        "Viridiplantae": "Plantae",
        "Orthornavirae": "Orthornavirae",
        "Bamfordvirae": "Bamfordvirae",
        "Shotokuvirae": "Shotokuvirae",
        "Protista": "Protista",
    }.items():
        assert clean_lineage([alias, "", "", "", "", "", ""])[0] == kingdom


def test_homonyms_of_two_kingdoms_stay_two_lineages() -> None:
    bird = ("Animalia", "Chordata", "Aves", "Passeriformes", "Muscicapidae", "Oenanthe", "oenanthe")
    plant = ("Plantae", "Tracheophyta", "Magnoliopsida", "Apiales", "Apiaceae", "Oenanthe", "crocata")
    assert [clean_lineage(bird), clean_lineage(plant)] == [bird, plant]


# Real pieces in any order find more than any text does.
pieces = st.sampled_from(
    [
        "Panthera",
        "leo",
        "PANTHERA",
        "×",
        "x",
        "sp.",
        "cf.",
        "(",
        ")",
        "L.",
        ",",
        "1758",
        "<i>",
        "</i>",
        "&amp;",
        "_",
        "?",
        "virus",
        "de",
        "van",
        "subsp.",
        "BOLD:AAA1234",
        "'",
        "İ",
        "ß",
        "ﬁ",
        "\u0307",
        "-",
        "f.",
        "[",
        "é",
        "\ud800",
        "ŉ",
    ]
)


names = st.one_of(
    st.none(),
    st.text(max_size=30),
    st.lists(pieces, max_size=8).map(" ".join),
    st.lists(pieces, max_size=8).map("".join),
    st.from_regex(r"[A-Z][a-z]{1,8}( [a-z]{1,8}){0,3}", fullmatch=True),
)


@given(st.tuples(*[names] * 7))
def test_cleaning_is_idempotent_and_leaves_only_letters(raw: tuple[str | None, ...]) -> None:
    clean = clean_lineage(raw)
    assert clean_lineage(clean) == clean
    assert len(clean) == 7
    assert all(name.replace("-", "").isalpha() or not name for name in clean)
    assert all(name == unicodedata.normalize("NFC", name) for name in clean)
    assert all(name[:1] == name[:1].upper() and name[1:] == name[1:].lower() for name in clean[:6])
    assert not clean[6] or clean[5]
    assert clean[6] == clean[6].lower()


genera = st.from_regex(r"[A-Z][a-z]{3,10}us", fullmatch=True)


epithets = st.from_regex(r"[a-z]{3,10}(-[a-z]{3})?ensis", fullmatch=True)


authors = st.sampled_from(
    [
        "L.",
        "(Linnaeus, 1758)",
        "Linnaeus, 1758",
        "Mill. & Smith",
        "Mill. &amp; Smith",
        "de Candolle",
        "Smith, J. & Brown",
        "van der Hoeven, 1850",
        "(L.) Mill.",
        "(Say, 1823) Smith ex Brown",
        "<i>Oken</i> 1816",
        "O'Hara",
        "Müller, [1776]",
        "in Wolf, 1900",
        "DC.",
        "Hook.f.",
        "von Bird, 1900",
        "d'Orbigny, 1835",
    ]
)


@given(genera, epithets, authors, st.sampled_from(["", " ssp. minor", " var. alba", " minor", " cv. Peace"]))
def test_author_and_infraspecific_name_change_no_binomial(genus: str, epithet: str, author: str, rest: str) -> None:
    for text in (f"{genus} {epithet} {author}", f"{genus} {epithet}{rest}", f"{genus} {epithet}{rest} {author}"):
        assert clean_lineage(["", "", "", "", "", "", text])[5:] == (genus, epithet)
        assert clean_binomial(text, genus)[1] == epithet
    assert clean_name(f"{genus} {author}") == genus
    assert clean_binomial(f"{genus} {author}", genus)[1] == ""


@given(genera, epithets, epithets)
def test_cross_of_two_species_is_neither(genus: str, one: str, other: str) -> None:
    for sign in ("×", "x", "X", "&times;"):
        assert clean_binomial(f"{genus} {one} {sign} {other}", genus, "Plantae")[1] == ""


@pytest.mark.parametrize(
    "piece", ["<", "&", "&amp;", "(", "a-", "Aa ", "x ", "×", ", ", "[", "?", "\u0307", "&#9999999999;"]
)
def test_a_very_long_text_is_cleaned_at_once(piece: str) -> None:
    hostile = piece * 1_000_000
    # A rule that is not bounded takes minutes here, and the test's own time limit ends it.
    assert len(clean_lineage([hostile] * 7)) == 7
    assert clean_name("Felidae " + hostile) in {"Felidae", ""}


@given(st.lists(st.tuples(*[names] * 7), max_size=20))
def test_table_is_cleaned_as_its_rows_are(rows: list[tuple[str | None, ...]]) -> None:
    rows = [tuple(name and name.replace("\ud800", "") for name in row) for row in rows]
    doubled = rows + rows[::-1]
    columns = [pa.array([row[rank] for row in doubled], pa.string()) for rank in range(7)]
    table = pa.table([pa.array(range(len(doubled))), *columns], names=["place", *RANKS])
    clean = clean_lineages(table)
    assert clean.column_names == table.column_names
    assert clean["place"].to_pylist() == list(range(len(doubled)))
    assert [tuple(row[rank] for rank in RANKS) for row in clean.to_pylist()] == [clean_lineage(row) for row in doubled]
    assert all(clean[rank].type == pa.string() for rank in RANKS)


def test_table_in_chunks_and_dictionaries() -> None:
    rows = {rank: pa.array(["unknown"], pa.large_string()) for rank in RANKS} | {"species": pa.array(["Panthera leo"])}
    encoded = {rank: column.cast(pa.string()).dictionary_encode() for rank, column in rows.items()}
    table = pa.concat_tables([pa.table(encoded), pa.table(encoded)])
    clean = clean_lineages(table)
    assert clean["genus"].to_pylist() == ["Panthera"] * 2
    assert clean["species"].to_pylist() == ["leo"] * 2

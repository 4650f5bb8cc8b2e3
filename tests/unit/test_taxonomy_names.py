"""Raw names to clean lineages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.taxonomy.names import clean_epithet, clean_lineage, clean_name


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("ANIMALIA", "Animalia"),
        ("  <i>Felidae</i> ", "Felidae"),
        ("unknown", ""),
        ("(unidentified)", ""),
        ("not_classified", ""),
        ("", ""),
    ],
)
def test_name(raw: str, clean: str) -> None:
    assert clean_name(raw) == clean


@pytest.mark.parametrize(
    ("raw", "genus", "epithet"),
    [
        ("Panthera leo", "Panthera", "leo"),
        ("leo", "Panthera", "leo"),
        ("Panthera leo (Linnaeus, 1758)", "Panthera", "leo"),
        ("Homo sapiens L.", "Homo", "sapiens"),
        ("Canis lupus familiaris", "Canis", "lupus"),
        ("Canis lupus ssp. dingo", "Canis", "lupus"),
        ("<i>Rosa</i> canina", "Rosa", "canina"),
        ("Vulpes vulpes", "Vulpes", "vulpes"),
        ("vulpes", "Vulpes", "vulpes"),  # TreeOfLife-10M and iNat21 hold the epithet alone
        ("Gorilla gorilla gorilla", "Gorilla", "gorilla"),
        ("Capsella bursa-pastoris", "Capsella", "bursa-pastoris"),
        ("Canis sp. 1", "Canis", ""),
        ("sp.", "Canis", ""),
        ("Canis cf. lupus", "Canis", ""),
        ("BOLD:AAA1234", "Culicoides", ""),
        ("Canis lupus x latrans", "Canis", ""),
        ("Anas × platyrhynchos", "Anas", ""),
        ("unknown", "Canis", ""),
    ],
)
def test_epithet(raw: str, genus: str, epithet: str) -> None:
    assert clean_epithet(raw, genus) == epithet


def test_lineage_of_inat21() -> None:
    raw = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo")
    assert clean_lineage(raw) == raw


def test_species_without_genus_takes_it_from_its_binomial() -> None:
    clean = clean_lineage(["Metazoa", None, None, None, None, None, "Panthera leo"])
    assert clean == ("Animalia", "", "", "", "", "Panthera", "leo")


@pytest.mark.parametrize("species", ["Felidae sp.", "Unknown species 3", "leo", "Felidae"])
def test_genus_is_never_invented(species: str) -> None:
    assert clean_lineage(["Animalia", "", "", "", "Felidae", "", species])[5:] == ("", "")


names = st.one_of(st.none(), st.text(max_size=30), st.from_regex(r"[A-Z][a-z]{1,8}( [a-z]{1,8}){0,3}", fullmatch=True))


@given(st.tuples(*[names] * 7))
def test_cleaning_is_idempotent_and_leaves_no_markup(raw: tuple[str | None, ...]) -> None:
    clean = clean_lineage(raw)
    assert clean_lineage(clean) == clean
    assert len(clean) == 7
    assert all(name == " ".join(name.split()) for name in clean)
    assert not clean[6] or clean[5]
    assert clean[6] == clean[6].lower()

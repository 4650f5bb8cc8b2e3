"""Captions, word for word as BioCLIP was trained on them."""

import pytest

from trygon.taxonomy.captions import MIXED, TextType, caption, name_text
from trygon.taxonomy.taxon import Rank, Taxon

LION = Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo"), "lion")
FAMILY_ONLY = Taxon(("Animalia", "Arthropoda", "Insecta", "Diptera", "Cecidomyiidae", "", ""))
GAPPED = Taxon(("Plantae", "", "Magnoliopsida", "", "Rosaceae", "Rosa", "canina"))
TAXONOMIC = "Animalia Chordata Mammalia Carnivora Felidae Panthera leo"
TAGGED = "kingdom Animalia phylum Chordata class Mammalia order Carnivora family Felidae genus Panthera species leo"


@pytest.mark.parametrize(
    ("text_type", "text"),
    [
        (TextType.SCI, "a photo of Panthera leo."),
        (TextType.COM, "a photo of lion."),
        (TextType.TAXON, f"a photo of {TAXONOMIC}."),
        (TextType.TAXON_TAG, f"a photo of {TAGGED}."),
        (TextType.SCI_COM, "a photo of Panthera leo with common name lion."),
        (TextType.TAXON_COM, f"a photo of {TAXONOMIC} with common name lion."),
        (TextType.TAXON_TAG_COM, f"a photo of {TAGGED} with common name lion."),
    ],
)
def test_full_lineage(text_type: TextType, text: str) -> None:
    assert caption(LION, text_type) == text


@pytest.mark.parametrize("text_type", list(TextType))
@pytest.mark.parametrize("taxon", [FAMILY_ONLY, GAPPED], ids=["family_only", "gapped"])
def test_missing_ranks_leave_no_gap_and_no_empty_name(taxon: Taxon, text_type: TextType) -> None:
    text = name_text(taxon, text_type)
    assert text
    assert "  " not in text
    assert "with common name" not in text


def test_lineage_without_genus_is_named_by_its_deepest_name() -> None:
    assert caption(FAMILY_ONLY, TextType.SCI) == "a photo of Cecidomyiidae."
    assert caption(FAMILY_ONLY, TextType.COM) == "a photo of Cecidomyiidae."
    assert caption(GAPPED, TextType.TAXON) == "a photo of Plantae Magnoliopsida Rosaceae Rosa canina."


def test_mixed_types_are_the_five_of_the_paper() -> None:
    assert sorted(MIXED) == ["com", "sci", "sci_com", "taxon", "taxon_com"]


def test_ranks_of_a_taxon() -> None:
    assert LION.rank is Rank.SPECIES
    assert FAMILY_ONLY.rank is Rank.FAMILY
    assert Taxon(("", "", "", "", "", "", "")).rank is None
    assert LION.at(Rank.FAMILY) == Taxon((*LION.lineage[:5], "", ""))
    assert LION.at(Rank.SPECIES) == LION
    assert LION.label == "lion (Panthera leo)"
    assert str(Rank.SPECIES) == "species"

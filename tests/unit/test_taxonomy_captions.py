"""Captions, word for word as BioCLIP was trained on them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.taxonomy.captions import (
    FIELDS,
    MIXED,
    PUBLISHED,
    TextType,
    caption,
    check_template,
    name_text,
    with_common,
)
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


_NAMES = st.sampled_from(["", "Aa", "Bb cc", "Ünï"])
_TAXA = st.builds(Taxon, st.tuples(*[_NAMES] * 7), st.sampled_from(["", "grey wolf"]))


@given(_TAXA.filter(lambda taxon: any(taxon.lineage) or taxon.common), st.sampled_from(TextType), st.booleans())
def test_no_taxon_with_any_name_is_left_nameless(taxon: Taxon, text_type: TextType, trained: bool) -> None:
    text = caption(with_common(taxon) if trained else taxon, text_type)
    assert "of ." not in text
    assert "  " not in text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("a photo of {name}.", "a photo of Panthera leo."),
        ("an image of {genus} {species}, a {common}", "an image of Panthera leo, a lion"),
        ("{kingdom}/{class}: {{{name}}}", "Animalia/Mammalia: {Panthera leo}"),
        ("{scientific} of {taxonomic}", f"Panthera leo of {TAXONOMIC}"),
    ],
)
def test_templates_are_filled_with_the_taxons_fields(template: str, text: str) -> None:
    assert caption(LION, TextType.SCI, check_template(template)) == text


@pytest.mark.parametrize(
    "template", ["a photo of {genus} {species}.", "a photo of {common}, a {family}.", "{family} {genus} from {phylum}"]
)
def test_a_template_with_a_blank_field_gives_way_to_the_published_one(template: str) -> None:
    assert caption(FAMILY_ONLY, TextType.SCI, template) == "a photo of Cecidomyiidae."


@pytest.mark.parametrize("template", [PUBLISHED, "a photo of {common}, a {family}.", "{name}"])
@pytest.mark.parametrize("text_type", list(TextType))
def test_a_taxon_without_any_name_has_a_caption_that_says_no_more(template: str, text_type: TextType) -> None:
    nobody = Taxon(("", "", "", "", "", "", ""))
    for taxon in (nobody, with_common(nobody)):
        assert caption(taxon, text_type, template) in {"a photo of an organism.", "an organism"}


@pytest.mark.parametrize(
    "template",
    [
        "{names}",
        "{}",
        "{0}",
        "{name.__class__}",
        "{name[0]}",
        "{name!r}",
        "{name:>99999999}",
        "{name",
        "name}",
        "a photo",
    ],
)
def test_a_template_that_is_no_plain_format_is_refused_in_one_line(template: str) -> None:
    with pytest.raises(ValueError, match="template") as caught:
        check_template(template)
    assert "\n" not in str(caught.value)


def test_unknown_fields_are_told_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"\{order_name\} is not a field") as caught:
        check_template("a {order_name}")
    assert all(f"{{{field}}}" in str(caught.value) for field in FIELDS)


@given(st.text(max_size=30), _TAXA)
def test_any_text_is_a_template_or_is_refused(template: str, taxon: Taxon) -> None:
    try:
        check_template(template)
    except ValueError:
        return
    text = caption(taxon, TextType.TAXON, template)
    assert text.strip()
    assert "  " not in text

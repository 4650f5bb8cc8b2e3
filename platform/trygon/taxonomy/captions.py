"""How a taxon becomes a caption: BioCLIP's text types, word for word as published (arXiv:2311.18803)."""

from enum import StrEnum

from trygon.taxonomy.taxon import RANKS, Rank, Taxon


class TextType(StrEnum):
    """What a caption says of a taxon."""

    TAXON = "taxon"
    SCI = "sci"
    COM = "com"
    SCI_COM = "sci_com"
    TAXON_COM = "taxon_com"
    TAXON_TAG = "taxonTag"
    TAXON_TAG_COM = "taxonTag_com"


MIXED: tuple[TextType, ...] = (TextType.TAXON, TextType.SCI, TextType.COM, TextType.SCI_COM, TextType.TAXON_COM)
"""The five types that BioCLIP mixes in training."""


def name_text(taxon: Taxon, text_type: TextType) -> str:
    """The taxon's name in one text type, without the prompt around it.

    A taxon without a common name falls back to its scientific name, and names are never blank for a lineage that holds
    at least one name: the scientific name of a lineage without a genus is its deepest name.
    """
    match text_type:
        case TextType.TAXON:
            return taxon.taxonomic
        case TextType.SCI:
            return taxon.scientific
        case TextType.COM:
            return taxon.common or taxon.scientific
        case TextType.TAXON_TAG:
            # The tag of the species rank is the rank's own name, and its value the epithet.
            return " ".join(f"{RANKS[rank]} {taxon.lineage[rank]}" for rank in Rank if taxon.lineage[rank])
        case TextType.SCI_COM:
            base = TextType.SCI
        case TextType.TAXON_COM:
            base = TextType.TAXON
        case TextType.TAXON_TAG_COM:
            base = TextType.TAXON_TAG
    name = name_text(taxon, base)
    return f"{name} with common name {taxon.common}" if taxon.common else name


def caption(taxon: Taxon, text_type: TextType) -> str:
    """`a photo of …`, as the model reads it."""
    return f"a photo of {name_text(taxon, text_type)}."

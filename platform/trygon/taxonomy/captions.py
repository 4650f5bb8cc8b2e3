"""How a taxon becomes a caption: BioCLIP's text types, word for word as published (arXiv:2311.18803), and templates of
the user's own. Knows nothing of when a text type is drawn."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from string import Formatter

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

    @classmethod
    def _missing_(cls, value: object) -> "TextType | None":
        """By its name too, as the help of commands spells it: sci-com, taxon-tag."""
        return cls.__members__.get(str(value).replace("-", "_").upper())


MIXED: tuple[TextType, ...] = (TextType.TAXON, TextType.SCI, TextType.COM, TextType.SCI_COM, TextType.TAXON_COM)
"""The five types that BioCLIP mixes in training."""


def name_text(taxon: Taxon, text_type: TextType) -> str:
    """The taxon's name in one text type, without the prompt around it.

    A taxon without a common name falls back to its scientific name, and names are never blank for a lineage that holds
    at least one name: the scientific name of a lineage without a genus is its deepest name.
    """
    match text_type:
        case TextType.TAXON:
            return taxon.taxonomic or taxon.common
        case TextType.SCI:
            return taxon.scientific or taxon.taxonomic or taxon.common
        case TextType.COM:
            return taxon.common or taxon.scientific or taxon.taxonomic
        case TextType.TAXON_TAG:
            # The tag of the species rank is the rank's own name, and its value the epithet.
            tagged = (f"{RANKS[rank]} {taxon.lineage[rank]}" for rank in Rank if taxon.lineage[rank])
            return " ".join(tagged) or taxon.common
        case TextType.SCI_COM:
            base = TextType.SCI
        case TextType.TAXON_COM:
            base = TextType.TAXON
        case TextType.TAXON_TAG_COM:
            base = TextType.TAXON_TAG
    name = name_text(taxon, base)
    return f"{name} with common name {taxon.common}" if taxon.common else name


def with_common(taxon: Taxon) -> Taxon:
    """The taxon as BioCLIP's training texts speak of it: a missing common name is the scientific one, or all names of
    a lineage without a genus. Its evaluation leaves a missing common name out, as `caption` does of itself."""
    if taxon.common:
        return taxon
    return replace(taxon, common=taxon.scientific if taxon.lineage[Rank.GENUS] else taxon.taxonomic)


PUBLISHED = "a photo of {name}."
"""BioCLIP's template."""

NAMELESS = "an organism"
"""What a caption calls a taxon of which nothing is known: `a photo of .` would be a caption too, of everything."""


def caption(taxon: Taxon, text_type: TextType, template: str = PUBLISHED) -> str:
    """The template filled for one taxon, as the model reads it: `a photo of …`.

    Fields are those of `FIELDS`. Where a field of a template is blank for this taxon, the published template stands in
    for it: a sentence with a hole says something else. A taxon without any name is called `NAMELESS`; curation leaves
    such samples out. Raises `ValueError` for a template that `check_template` refuses.
    """
    name = name_text(taxon, text_type) or NAMELESS
    if template == PUBLISHED:
        return f"a photo of {name}."
    parts = _parts(template)
    values = {field: _value(taxon, field, name) for _, field in parts if field}
    if not all(values.values()):
        return f"a photo of {name}."
    return " ".join("".join(literal + values.get(field, "") for literal, field in parts).split())


def check_template(template: str) -> str:
    """The template itself. Raises `ValueError` where it is no format string of plain fields that are known."""
    _parts(template)
    return template


FIELDS: tuple[str, ...] = ("name", "scientific", "taxonomic", "common", *RANKS)
"""What a template may speak of: the name in the text type that was drawn, and the taxon's own names."""


def _value(taxon: Taxon, field: str, name: str) -> str:
    if field == "name":
        return name
    return taxon.lineage[RANKS.index(field)] if field in RANKS else getattr(taxon, field)


@lru_cache
def _parts(template: str) -> Sequence[tuple[str, str]]:
    """Literal text and the field after it, in order; the last field is blank. Nothing of a field is evaluated."""
    known = f"the fields are {', '.join(f'{{{field}}}' for field in FIELDS)}"
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"is no template ({error}): a brace that is no field is written twice") from error
    for _, field, spec, conversion in parsed:
        if field is not None and (field not in FIELDS or spec or conversion):
            written = field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            raise ValueError(f"{{{written}}} is not a field of a template: {known}, without anything added")
    if not any(field for _, field, _, _ in parsed):
        raise ValueError(f"a template without a field makes every caption the same: {known}")
    return [(literal, field or "") for literal, field, _, _ in parsed]

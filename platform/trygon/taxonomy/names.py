"""Raw source names to clean values for the seven ranks. The full set of rules is TreeOfLife-10M's, corrected."""

import re
from collections.abc import Sequence

from trygon.taxonomy.taxon import Lineage

_TAG = re.compile(r"<[^>]*>")
_SPACE = re.compile(r"\s+")
_UNKNOWN = {"unknown", "(unidentified)", "unidentified", "pleasehelp", "not_classified", "n/a", "none", "null"}
_KINGDOM_ALIASES = {"metazoa": "Animalia", "archaeplastida": "Plantae", "chloroplastida": "Plantae"}
# Where the name proper ends: infraspecific markers, an authority in brackets or with its year.
_EPITHET_END = re.compile(r"\(|\b(?:ssp|subsp|var|cf|aff)\.|\bf\.|,|\d")
_HYBRID = {"x", "×"}
_EPITHET = re.compile(r"[a-zà-ÿ]{2,}(?:-[a-zà-ÿ]+)*")


def clean_name(raw: str) -> str:
    """A name above species: tags and spaces removed, capitalised; blank where it says that it is unknown."""
    name = _SPACE.sub(" ", _TAG.sub("", raw)).strip()
    return "" if name.lower() in _UNKNOWN else name.capitalize()


def clean_epithet(raw: str, genus: str) -> str:
    """The species epithet of a binomial, a trinomial or an epithet with its authority; blank where there is none."""
    name = _SPACE.sub(" ", _TAG.sub("", raw)).strip()
    if not name or name.lower() in _UNKNOWN:
        return ""
    words = _EPITHET_END.split(name.lower(), maxsplit=1)[0].split()
    # A single small word is the epithet even where it equals the genus: tautonyms such as Vulpes vulpes.
    if words and words[0] == genus.lower() and (len(words) > 1 or name[0].isupper()):
        words = words[1:]
    if not words or words[0] in {"sp", "sp.", "spp", "spp."} or not _EPITHET.fullmatch(words[0]):
        return ""
    # A cross of two species is neither of them.
    return "" if _HYBRID.intersection(words[1:2]) else words[0]


def clean_lineage(raw: Sequence[str | None]) -> Lineage:
    """Seven raw names, kingdom first, to a clean lineage. A species without a genus takes it from its binomial."""
    names = [name or "" for name in raw]
    kingdom, phylum, class_, order, family, genus = (clean_name(name) for name in names[:6])
    words = _TAG.sub("", names[6]).split()
    if not genus and len(words) >= 2 and words[0][:1].isupper() and clean_epithet(names[6], words[0]):
        genus = clean_name(words[0])
    epithet = clean_epithet(names[6], genus) if genus else ""
    return (_KINGDOM_ALIASES.get(kingdom.lower(), kingdom), phylum, class_, order, family, genus, epithet)

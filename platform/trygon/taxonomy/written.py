"""The names of a catalogue, millions at once. Knows what is plain; anything else is read as sources' names are.

A plain name has its words as the codes write them: a genus, a subgenus in brackets, an epithet, authors and years.
"""

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.taxonomy import words
from trygon.taxonomy.names import clean_lineage, clean_name

_PLAIN = (
    r"^(?P<first>\p{Lu}\p{Ll}[\p{Ll}\-]*\p{Ll}|\p{Lu}\p{Ll})(?: \(\p{Lu}\p{Ll}+\))?"
    r"(?: (?P<epithet>\p{Ll}[\p{Ll}\-]*\p{Ll}))?"
    r"(?P<rest>(?:,? \(?(?:\p{Lu}[\p{L}.'’\-]*|[0-9]{4}|&|de|van|von|der|ex)\)?)*)$"
)
_TRINOMIAL = r"^\p{Lu}[\p{L}\-]+(?: \([^)]*\))?(?: \p{Ll}[\p{Ll}\-]+){2,}$"
_NO_NAMES = pa.array(sorted(words.UNKNOWN | words.COMMON | words.PLACEHOLDERS | words.CANDIDATUS))
_PARTICLES = pa.array(sorted(words.PARTICLES))


def read_names(
    texts: pa.StringArray, kingdoms: pa.StringArray, is_species: np.ndarray, is_canonical: np.ndarray
) -> tuple[pa.StringArray, pa.StringArray]:
    """The genus or the single name of each text, and its epithet; blank where it names nothing.

    All have N rows. A canonical name has no authority: what stands behind it makes it another name, and blank.
    """
    parts = pc.extract_regex(texts, _PLAIN)
    first, epithet, rest = (pc.struct_field(parts, name).fill_null("") for name in ("first", "epithet", "rest"))
    # Where particles follow a genus they are its author's, and no epithet.
    odd = pc.or_(pc.is_in(pc.utf8_lower(first), value_set=_NO_NAMES), pc.is_in(epithet, value_set=_NO_NAMES))
    odd = pc.or_(odd, pc.is_in(epithet, value_set=_PARTICLES))
    plain = pc.and_(pc.not_equal(first, ""), pc.invert(odd))
    longer = pc.or_(pc.and_(plain, pc.not_equal(rest, "")), pc.match_substring_regex(texts, _TRINOMIAL))
    refused = pc.and_(pa.array(is_canonical), longer)
    kept = pc.and_(plain, pc.invert(refused))
    first, epithet = (pc.if_else(kept, part, "") for part in (first, epithet))
    left = pc.and_(pc.not_equal(texts, ""), pc.invert(pc.or_(plain, refused))).to_numpy(zero_copy_only=False)
    if not left.any():
        return first, epithet
    rows = pa.array(left)
    read = [
        _as_of_sources(*row)
        for row in zip(*(it.filter(rows).to_pylist() for it in (texts, kingdoms)), is_species[left], strict=True)
    ]
    first, epithet = (
        pc.replace_with_mask(part, rows, pa.array([names[place] for names in read], pa.string()))
        for place, part in enumerate((first, epithet))
    )
    return first, epithet


@lru_cache(maxsize=1 << 16)
def _as_of_sources(text: str, kingdom: str, is_species: bool) -> tuple[str, str]:
    if not is_species:
        return clean_name(text), ""
    lineage = clean_lineage((kingdom, *[""] * 5, text))
    return lineage[-2], lineage[-1]

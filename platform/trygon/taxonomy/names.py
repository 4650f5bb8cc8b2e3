"""Raw source names to clean values for the seven ranks. Knows the shape of names and some words, and no taxa.

The rules are TreeOfLife-10M's where they are right. A name is kept only where the source states it: what is uncertain,
provisional, a cross or a common name leaves its rank blank, and the ranks above stay. A common name of two words looks
like a binomial: only its words tell it, as far as they are known here.
"""

import html
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise, takewhile

import numpy as np
import pyarrow as pa

from trygon.taxonomy import words as tables
from trygon.taxonomy.taxon import RANKS, Lineage, Rank

_MAX_CHARACTERS = 512
"""Longer texts are cut. The longest names have some 200 characters, and every rule is quick at this length."""

_LATIN = "a-zà-öø-ÿ\u0101-\u017f"
_NAME = re.compile(rf"[{_LATIN}]{{2,}}(?:-[{_LATIN}]+)*", re.IGNORECASE)
# One letter stands before a hyphen in names such as Polygonia c-album, and never alone.
_EPITHET = re.compile(rf"[{_LATIN}]+(?:-[{_LATIN}]+)+|[{_LATIN}]{{2,}}")
_PLAIN = re.compile(r"[a-z]{2,}")
_TAG = re.compile(r"<[^<>]*>")
_SIGNS = str.maketrans(
    {
        **dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"),  # drawn as nothing
        **dict.fromkeys("†‡"),  # extinct
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys("\u2018\u2019\u02bc`\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        **dict.fromkeys("×✕✖⨯", " × "),
        # Both codes write them as two letters.
        "æ": "ae",
        "Æ": "Ae",
        "œ": "oe",
        "Œ": "Oe",
    }
)
# A tag ends a word, brackets and commas stand apart, and file names have _ for a space.
_APART = str.maketrans({"(": " (", ")": ") ", "[": " [", "]": "] ", ",": " , ", ";": " , ", "_": " "})
_EDGES = "()[]{}.,;:?!'\""
_HYBRID_GENUS = re.compile(r"^x(?=[A-Z][a-z])")
# Provisional names are made with a hyphen, too.
_GROUP = re.compile(r".-(?:group|complex|aggregate|agg|grp|gr|like|type|form)$")


_SUBGENUS_MARKERS = frozenset(("subg.", "subgen.", "sect.", "subsect.", "ser."))
_CROSSES = frozenset("×xX+")
# Above the genus: endings that the codes prescribe there, and that no genus has.
_ABOVE_GENUS = ("idae", "aceae", "oideae", "iformes", "mycota", "viridae", "virales", "virae")

# One kingdom under several names. Other kingdoms stay what the source says, those of viruses too.
_KINGDOMS = {
    "Metazoa": "Animalia",
    "Archaeplastida": "Plantae",
    "Chloroplastida": "Plantae",
    "Viridiplantae": "Plantae",
    "Eubacteria": "Bacteria",
    "Archaebacteria": "Archaea",
}
# A named hybrid ("Quercus × rosacea") has the rank of species under the botanical code, and the sign is no part of its
# name (ICN H.3): it keeps its epithet. The zoological code names no hybrids (ICZN 1.3.3): "Anas × platyrhynchos" is
# half of a formula. A formula of two species is neither of them, whatever the kingdom.
_KINGDOMS_WITH_NAMED_HYBRIDS = {"Plantae", "Fungi", "Chromista"}


def clean_name(raw: str) -> str:
    """A name above species, capitalised, without markup, authority and year; blank where the text does not name one.

    The kingdom's other names are not replaced here, but in `clean_lineage`.
    """
    name = raw if _PLAIN.fullmatch(raw) else _first_name(_plain_text(raw))
    lower = name.lower()
    # Some letters grow when their case changes.
    return (
        ""
        if _says_nothing(lower)
        or lower in tables.HEADS
        or lower in tables.FIRST_WORDS
        or not _EPITHET.fullmatch(lower)
        else lower.capitalize()
    )


def clean_lineage(raw: Sequence[str | None]) -> Lineage:
    """Seven raw names, kingdom first, to a clean lineage. A species without a genus takes it from its binomial.

    Never raises, whatever the text; a clean lineage stays as it is. Names are not looked up: homonyms of two kingdoms
    stay two lineages, and a name that stands at two ranks (Collembola, class and order) stays at both.
    """
    kingdom, phylum, class_, order, family, genus = (clean_name(name or "") for name in raw[: Rank.SPECIES])
    kingdom = _KINGDOMS.get(kingdom, kingdom)
    return (kingdom, phylum, class_, order, family, *clean_binomial(raw[Rank.SPECIES] or "", genus, kingdom))


def clean_lineages(table: pa.Table) -> pa.Table:
    """The table with clean rank columns; other columns and the order of rows as they were.

    Each distinct name above species is cleaned once, and each distinct species with its genus and kingdom.
    """
    codes, names = zip(*(_coded(table[rank]) for rank in RANKS), strict=True)
    clean = [[clean_name(name) for name in column] for column in names[: Rank.SPECIES]]
    clean[Rank.KINGDOM] = [_KINGDOMS.get(name, name) for name in clean[Rank.KINGDOM]]
    # A species as raw, its genus and kingdom as one integer each: what its cleaning depends on.
    keys = codes[Rank.GENUS].astype(np.int64) * len(names[Rank.SPECIES]) + codes[Rank.SPECIES]
    keys = keys * len(names[Rank.KINGDOM]) + codes[Rank.KINGDOM]
    distinct, row_of = np.unique(keys, return_inverse=True)
    rest, kingdoms = np.divmod(distinct, max(1, len(names[Rank.KINGDOM])))
    genera, species = np.divmod(rest, max(1, len(names[Rank.SPECIES])))
    pairs = [
        clean_binomial(names[Rank.SPECIES][one], clean[Rank.GENUS][genus], clean[Rank.KINGDOM][kingdom])
        for one, genus, kingdom in zip(species.tolist(), genera.tolist(), kingdoms.tolist(), strict=True)
    ]
    columns = [pa.array(clean[rank], pa.string()).take(pa.array(codes[rank])) for rank in range(Rank.GENUS)]
    rows = pa.array(row_of.reshape(-1))
    columns += [pa.array([pair[part] for pair in pairs], pa.string()).take(rows) for part in range(2)]
    for rank, column in zip(RANKS, columns, strict=True):
        table = table.set_column(table.column_names.index(rank), rank, column)
    return table


def _coded(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    encoded = column.cast(pa.string()).fill_null("").combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()


def _plain_text(raw: str) -> str:
    """Without markup and signs that only layout needs, words apart by one space."""
    text = raw[:_MAX_CHARACTERS]
    if "&" in text:
        # Twice: exports of exports hold &amp;times;.
        text = html.unescape(html.unescape(text))
    text = _HYBRID_GENUS.sub("× ", _TAG.sub(" ", text).strip())
    if not text.isascii():
        # Compatible forms too: ligatures and full-width letters are letters.
        text = unicodedata.normalize("NFKC", text.translate(_SIGNS))
    if text[:1] == '"':
        # The names of Candidati are written in quotes.
        text = text.replace('"', " ")
    return " ".join(text.translate(_APART).split())


def _no_name(lower: str) -> bool:
    return lower in tables.UNKNOWN or lower in tables.COMMON or lower.removesuffix("s") in tables.COMMON


def _not_latin(lower: str) -> bool:
    """Of a word after the name: viruses had common names until they got binomials."""
    return _no_name(lower) or lower.endswith(("virus", "viruses", "-like"))


def _says_nothing(lower: str) -> bool:
    return _no_name(lower) or lower in tables.PLACEHOLDERS


def _first_name(text: str) -> str:
    words = text.split()
    while words and (words[0] in _CROSSES or words[0].lower() in tables.CANDIDATUS):
        words = words[1:]
    if not words:
        return ""
    first, rest = words[0], words[1:]
    # An ending stop abbreviates: P., gen., cf. And a question mark asks.
    name = first.strip("[](){},;:'\"")
    if not _NAME.fullmatch(name) or not {"?", "or", *_CROSSES}.isdisjoint(rest):
        return ""
    author = "," in rest or any(word.isdecimal() for word in rest)
    # Two names are not one. But the author too may stand behind a comma, with the year.
    if rest and rest[0] in tables.LINKS and not (rest[0] == "," and any(word.isdecimal() for word in rest)):
        return ""
    # After a name come at most its author and year, or the rest of a binomial. Authors are called Wolf and Bird too.
    bare = _bare_words(rest)
    said = {word.strip(_EDGES).lower() for word in takewhile(lambda word: word[0] not in "([", rest)}
    if (bare and name.islower()) or (bare and bare[0] in tables.HEADS) or said & tables.UNKNOWN:
        return ""
    return "" if any(_not_latin(word) for word in (bare if author else said)) else name


def _bare_words(words: Sequence[str]) -> list[str]:
    """The small words that follow a name at once: an epithet, or more of a common name."""
    count = next((place for place, word in enumerate(words) if not _EPITHET.fullmatch(word)), len(words))
    return list(words[:count])


def clean_binomial(raw: str, genus: str = "", kingdom: str = "") -> tuple[str, str]:
    """Genus and epithet of a raw species; the genus is the given one, or the binomial's where there is none.

    `genus` and `kingdom` are clean. The epithet alone is blank where the text does not name a species, and both where
    nothing gives a genus.
    """
    if genus and _PLAIN.fullmatch(raw):
        return genus, "" if _says_nothing(raw) else raw
    said, epithet = _read_species(_plain_text(raw), genus, kingdom)
    if genus:
        return genus, epithet
    # One word is an epithet without its genus; and without an epithet nothing says that the first word is a genus.
    named = clean_name(said) if epithet else ""
    if not named or named.endswith(_ABOVE_GENUS) or _not_latin(epithet):
        return "", ""
    return ("", "") if epithet in tables.HEADS or epithet in tables.STAGES else (named, epithet)


def _read_species(text: str, genus: str, kingdom: str) -> tuple[str, str]:
    """The genus that a text names, as it is written (blank where it names none), and the epithet."""
    if text.isupper() and " " in text:
        text = text.capitalize()
    words = text.split()
    if words and words[0].lower() in tables.CANDIDATUS:
        words = words[1:]
    # The sign before a capital makes a hybrid genus, which is a genus of its own.
    if len(words) > 1 and words[0] in _CROSSES and words[1][0].isupper():
        words = words[1:]
    said, words = _split_genus(words, genus)
    if said is None:
        return "", ""
    words = _without_subgenus(words)
    named_hybrid = bool(words) and words[0] in _CROSSES
    if named_hybrid:
        words = words[1:]
    if not words or (named_hybrid and kingdom not in _KINGDOMS_WITH_NAMED_HYBRIDS):
        return said, ""
    first, rest = words[0].replace("'", ""), words[1:]
    if not said and not rest and first[:1].isupper() and not first.lower().endswith(_ABOVE_GENUS):
        # Alone in its column it is an epithet with a capital; after a genus it would be the author.
        first = first.lower()
    if words[0][0] == "'" or not _EPITHET.fullmatch(first) or _says_nothing(first) or _GROUP.search(first):
        return said, ""
    if first in tables.PARTICLES and rest and (rest[0] in tables.PARTICLES or rest[0][0].isupper()):
        return said, ""
    return said, "" if _is_undone(rest) or (rest and first in tables.STAGES) else first


def _is_undone(rest: Sequence[str]) -> bool:
    """Whether what follows an epithet says that the species is another, one of two, uncertain, or none."""
    if not rest:
        return False
    if _CROSSES.intersection(rest) or tables.SEVERAL.intersection(rest[:2]) or tables.MISAPPLIED.intersection(rest):
        return True
    if any(word.strip("()[]") == "?" for word in rest):
        return True
    # An author has a capital: small words behind a comma or an "and" are another species.
    for link, word in pairwise(rest):
        if link in tables.LINKS and _EPITHET.fullmatch(word) and not _goes_on(word):
            return True
    return any(_not_latin(word) for word in _bare_words(rest) if word not in tables.SPECIMENS)


def _goes_on(lower: str) -> bool:
    return (
        lower in tables.PARTICLES
        or lower in tables.NO_SECOND_EPITHET
        or lower in tables.SPECIMENS
        or lower in tables.HEADS
        or _says_nothing(lower)
    )


def _split_genus(words: list[str], genus: str) -> tuple[str | None, list[str]]:
    """The genus at the front of a binomial and what follows it; None where it is another than the lineage's."""
    if not words or words[0] in _CROSSES or (not words[0][0].isalpha() and words[0][0] != "["):
        return "", words
    first = words[0].strip("[]")
    lower, known = _folded(first), _folded(genus)
    # A single small word is the epithet even where it equals the genus: tautonyms such as Vulpes vulpes.
    if known and lower == known and (len(words) > 1 or first[:1].isupper()):
        return first, words[1:]
    if not first[:1].isupper() or len(words) == 1:
        return "", words
    if not known:
        return (first, words[1:]) if _NAME.fullmatch(first) and not _no_name(lower) else (None, [])
    # Bombus (Pyrobombus) impatiens: a subgenus that the lineage has as a genus.
    if _folded(words[1].strip("()")) == known and words[1][0] == "(":
        return first, words[2:]
    # P. leo, Ae. aegypti: a short form of the genus.
    if known.startswith(lower.rstrip(".")) and (first.endswith(".") or len(lower) == 1):
        return first, words[1:]
    return None, []


def _folded(name: str) -> str:
    """In small letters without diacritics, which sources write or leave out: Isoëtes, Isoetes."""
    lower = name.lower()
    if lower.isascii():
        return lower
    return "".join(letter for letter in unicodedata.normalize("NFD", lower) if not unicodedata.combining(letter))


def _without_subgenus(words: list[str]) -> list[str]:
    """What follows a subgenus, in brackets or behind its marker."""
    while words:
        if words[0][0] in "([":
            end = next((place for place, word in enumerate(words) if word[-1] in ")]"), len(words))
            words = words[end + 1 :]
        elif words[0] in _SUBGENUS_MARKERS:
            words = words[2:]
        else:
            break
    return words

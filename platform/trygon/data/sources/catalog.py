"""The kinds of sources by name, and how one is told in a line of text."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from trygon.data.sources.bioscan import Bioscan
from trygon.data.sources.eol import Eol
from trygon.data.sources.folder import Folder, PathList
from trygon.data.sources.inat21 import INat21
from trygon.data.sources.rarespecies import RareSpecies
from trygon.data.sources.source import Source
from trygon.data.sources.treeoflife import TreeOfLife
from trygon.data.sources.webdataset import WebDataset
from trygon.errors import UserError
from trygon.storage import exists, is_remote

SOURCES: dict[str, type] = {
    "inat21": INat21,
    "bioscan": Bioscan,
    "eol": Eol,
    "treeoflife": TreeOfLife,
    "webdataset": WebDataset,
    "rarespecies": RareSpecies,
    "folder": Folder,
    "list": PathList,
}
"""A new kind of source is one module, one line here, and a test."""


def open_source(text: str) -> Source:
    """`inat21:/data/x`, `eol:s3://bucket/y`; a place without a kind is a folder with labels.csv.

    With `birds=inat21:/data/x` the source is called birds. Raises `UserError` for a kind that is not known; nothing is
    opened yet.
    """
    name, kind, place = _parts(text)
    source = SOURCES[kind]
    return source(place, name) if name else source(place)


def has_kind(text: str) -> bool:
    """Whether a text names a kind of source before its place."""
    return text.partition(":")[0].rpartition("=")[2] in SOURCES


def open_sources(texts: Sequence[str]) -> list[Source]:
    """Several sources; `UserError` where two have the same name: their pictures could not be told apart."""
    sources = [open_source(text) for text in texts]
    counts = Counter(source.name for source in sources)
    for text, source in zip(texts, sources, strict=True):
        if counts[source.name] > 1:
            _, kind, place = _parts(text)
            raise UserError(
                f"two sources are called {source.name}: name this one, as in {source.name}2={kind}:{place}"
            )
    return sources


def _parts(text: str) -> tuple[str, str, str]:
    """Name (blank where none is told), kind and place."""
    kind, colon, place = text.partition(":")
    name, equals, told = kind.rpartition("=")
    if equals and told in SOURCES and name and "/" not in name:
        return name, told, _place(text, place)
    if kind in SOURCES and colon:
        return "", kind, _place(text, place)
    if colon and not place.startswith("//") and "/" not in kind and not exists(text):
        raise UserError(f"{text}: {kind!r} is no kind of source; the kinds are {', '.join(SOURCES)} (inat21:/data/x)")
    return "", "folder", _place(text, text)


def _place(text: str, place: str) -> str:
    if not place:
        raise UserError(f"{text!r} names no place: write a folder or an s3:// address, as in inat21:/data/x")
    # Whole, for workers run elsewhere; and a shell leaves the ~ of `inat21:~/x` as it is.
    return place.rstrip("/") if is_remote(place) else str(Path(place).expanduser().absolute())

"""BioCLIP's WebDataset shards: a tar with a picture and its captions as small text files beside it.

The lineage is read from the tagged caption, for it says which rank is missing; `taxonomic_name` does not. Knows how
captions are read, not how they are made.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from trygon.data.sources.listing import base_name, is_archive, parent, units_of
from trygon.data.sources.members import read_members, read_pictures
from trygon.data.sources.source import Picture, Unit
from trygon.data.sources.tables import concat, to_records
from trygon.storage import exists
from trygon.taxonomy.taxon import RANKS, Lineage

# In lower case: open_clip's loader makes `taxonTag.txt` to `taxontag.txt`, and some shards were written after it.
_TAG, _TAXONOMIC, _SCIENTIFIC, _COMMON = "taxontag.txt", "taxonomic_name.txt", "scientific_name.txt", "common_name.txt"
_CAPTIONS = frozenset({_TAG, _TAXONOMIC, _SCIENTIFIC, _COMMON})
_PROMPT = "a photo of "
_REPEATED = "train_small"
_HINT = "put shards (shard-000000.tar …) there"


@dataclass(frozen=True)
class WebDataset:
    """`uri` is a shard or a folder with shards at any depth; ids are the keys. No shard tells a licence.

    Shards of train_small repeat those of train; where both are there, they are passed over.
    """

    uri: str
    name: str = "webdataset"

    def records(self) -> pa.Table:
        """One row a key that has captions. All shards are read for them: see `records_of` for one."""
        return concat([self.records_of(unit) for unit in self.units()])

    def records_of(self, unit: Unit) -> pa.Table:
        """The records of one shard, schemas.RECORD: pictures are passed over."""
        texts: dict[str, dict[str, str]] = {}
        for path, data, reason in read_members(unit, lambda path: _split(path)[1] in _CAPTIONS):
            if not reason:
                key, extension = _split(path)
                texts.setdefault(key, {})[extension] = data.decode("utf-8", errors="replace").strip()
        rows = [(key, *_lineage(captions), _common(captions)) for key, captions in texts.items()]
        columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(len(RANKS) + 2)]
        return to_records(dict(zip(("source_id", *RANKS, "common"), columns, strict=True)))

    def units(self) -> list[Unit]:
        """Each shard."""
        if is_archive(base_name(self.uri)) and exists(self.uri):
            return [Unit(self.uri)]
        units = units_of(self.uri, _HINT, is_archive)
        splits = {base_name(parent(unit.uri)) for unit in units}
        repeated = {_REPEATED} if "train" in splits else set()
        return [unit for unit in units if base_name(parent(unit.uri)) not in repeated]

    def read(self, unit: Unit) -> Iterator[Picture]:
        """Pictures by key."""
        return read_pictures(unit, lambda path: _split(path)[0])


def _split(path: str) -> tuple[str, str]:
    """Key and extension, the latter in lower case: cut at the first point of the file's name."""
    folder, slash, file = path.rpartition("/")
    stem, _, extension = file.partition(".")
    return folder + slash + stem, extension.lower()


def parse_tags(caption: str) -> Lineage:
    """The lineage that a tagged caption tells: `a photo of kingdom Animalia class Aves species corax.`

    Missing ranks are blank. A rank's word counts only after the ranks above it: `species order` is the epithet order.
    """
    text = caption.strip().removeprefix(_PROMPT).removesuffix(".")
    names: list[list[str]] = [[] for _ in RANKS]
    rank = -1
    for word in text.split():
        if word in RANKS[rank + 1 :] and (rank < 0 or names[rank]):
            rank = RANKS.index(word)
        elif rank >= 0:
            names[rank].append(word)
    kingdom, phylum, class_, order, family, genus, species = (" ".join(words) for words in names)
    return (kingdom, phylum, class_, order, family, genus, species)


def _lineage(captions: dict[str, str]) -> Lineage | tuple[str, ...]:
    if captions.get(_TAG):
        return parse_tags(captions[_TAG])
    words = captions.get(_TAXONOMIC, "").split()
    # With fewer words nothing says which rank is missing.
    return tuple(words) if len(words) == len(RANKS) else ("",) * len(RANKS)


def _common(captions: dict[str, str]) -> str:
    """The common name, unless it is the scientific or taxonomic name that stands in for one."""
    common = captions.get(_COMMON, "")
    return "" if common in (captions.get(_SCIENTIFIC), captions.get(_TAXONOMIC)) else common

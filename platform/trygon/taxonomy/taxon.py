"""Ranks and the taxon: a lineage down to some rank, with its common name. Knows nothing of trees or captions."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Rank(IntEnum):
    """The seven ranks, from the widest to the narrowest."""

    KINGDOM = 0
    PHYLUM = 1
    CLASS = 2
    ORDER = 3
    FAMILY = 4
    GENUS = 5
    SPECIES = 6

    def __str__(self) -> str:
        return self.name.lower()


RANKS: tuple[str, ...] = tuple(str(rank) for rank in Rank)
"""Rank names, as they stand as columns in every table."""

Lineage = tuple[str, str, str, str, str, str, str]
"""Names at the seven ranks; blank where unknown. At species it is the epithet alone, as in TreeOfLife-10M."""


@dataclass(frozen=True, slots=True)
class Taxon:
    """A lineage and the taxon's English common name (blank where there is none)."""

    lineage: Lineage
    common: str = ""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Taxon":
        """From a mapping with the seven rank columns and, where there is one, `common`."""
        names = tuple(row.get(rank) or "" for rank in RANKS)
        return cls(names, row.get("common") or "")  # pyright: ignore[reportArgumentType]

    @property
    def rank(self) -> Rank | None:
        """The deepest rank that has a name; None for a lineage that is blank throughout."""
        return max((rank for rank in Rank if self.lineage[rank]), default=None)

    @property
    def scientific(self) -> str:
        """`Genus epithet`, or the deepest name where the species is not known."""
        if self.lineage[Rank.SPECIES] and self.lineage[Rank.GENUS]:
            return f"{self.lineage[Rank.GENUS]} {self.lineage[Rank.SPECIES]}"
        return next((name for name in reversed(self.lineage[: Rank.SPECIES]) if name), "")

    @property
    def taxonomic(self) -> str:
        """All names from kingdom down, blanks left out."""
        return " ".join(name for name in self.lineage if name)

    @property
    def label(self) -> str:
        """What people read: the common name with the scientific one, or the scientific one alone."""
        return f"{self.common} ({self.scientific})" if self.common else self.scientific

    def at(self, rank: Rank) -> "Taxon":
        """The ancestor at `rank`: this lineage cut below it, without the common name unless nothing was cut."""
        cut = tuple(name if level <= rank else "" for level, name in enumerate(self.lineage))
        return Taxon(cut, self.common if cut == self.lineage else "")  # pyright: ignore[reportArgumentType]

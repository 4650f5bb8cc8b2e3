"""What a synthetic world is made of: the few numbers that decide every byte of it. Imports nothing heavy."""

from dataclasses import dataclass
from enum import StrEnum

MIN_SPECIES = 30
"""A smaller tree has no room for a genus in each phylum and a species or two in it."""

_PICTURES_PER_SPECIES = 22
_LEAST_SPECIES, _MAX_SPECIES = 100, 450_000


class SourceKind(StrEnum):
    """The sources that can be made."""

    INAT21 = "inat21"
    BIOSCAN = "bioscan"
    EOL = "eol"
    RARESPECIES = "rarespecies"
    FOLDER = "folder"


@dataclass(frozen=True)
class Recipe:
    """What a world is made of. The same recipe is the same world."""

    images: int
    sources: tuple[SourceKind, ...]
    species: int = 0
    seed: int = 0

    @property
    def num_species(self) -> int:
        """As asked for; else as many as so many pictures have in TreeOfLife-10M."""
        return self.species or min(_MAX_SPECIES, max(_LEAST_SPECIES, self.images // _PICTURES_PER_SPECIES))

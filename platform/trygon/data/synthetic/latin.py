"""Names that sound like Latin, for every rank, and common names. Knows nothing of the tree."""

import numpy as np

from trygon.taxonomy.taxon import Rank


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ONSETS = _words("b br c cl cr d dr f fl g gr h l m n p pl pr ph r s sc st t th tr v x z")
_VOWELS = _words("a e i o u a e i o ae ia io")
_CODAS = ("", "", "", "n", "r", "s", "l", "m")
_GENUS_ENDS = _words("us a um is ops odes ella ina ias ax ornis")
_EPITHET_ENDS = _words("us a um is ensis oides atus alis icus inus ulus escens fera ans")
_HIGHER_ENDS = {
    "Animalia": {Rank.PHYLUM: "ozoa", Rank.CLASS: "ida", Rank.ORDER: "iformes", Rank.FAMILY: "idae"},
    "Plantae": {Rank.PHYLUM: "ophyta", Rank.CLASS: "opsida", Rank.ORDER: "ales", Rank.FAMILY: "aceae"},
    "Fungi": {Rank.PHYLUM: "omycota", Rank.CLASS: "omycetes", Rank.ORDER: "ales", Rank.FAMILY: "aceae"},
}
_ADJECTIVES = _words(
    "northern southern eastern western common lesser greater dwarf giant mountain river marsh coastal desert forest "
    "meadow island early late false painted masked silent wandering hidden bright dusky ringed crested slender stout "
    "bearded hooded shining pale dark veiled barred tufted long-tailed broad-winged"
)
_NOUN_STARTS = _words("whis mar thorn bram fen sor lin tam har wel dun pip quill rush sedge tarn vel wick yar gor")
_NOUN_ENDS = _words("let ling per kin wort fin bill cap horn moth tail weed bell foot crest back thistle snout")


class Latin:
    """Draws names; the same ones from the same generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._taken: dict[Rank, set[str]] = {rank: set() for rank in Rank}

    def name(self, rank: Rank, kingdom: str) -> str:
        """A name above species that no other node at its rank has."""
        syllables = 2
        while True:
            end = self._one(_GENUS_ENDS) if rank is Rank.GENUS else _HIGHER_ENDS[kingdom][rank]
            name = (self._stem(syllables) + end).capitalize()
            if name not in self._taken[rank]:
                self._taken[rank].add(name)
                return name
            syllables = 3

    def epithets(self, number: int) -> list[str]:
        """Different species epithets, for the genera to share as they do in nature."""
        found: dict[str, None] = {}
        while len(found) < number:
            found[self._stem(2 if len(found) < 4000 else 3) + self._one(_EPITHET_ENDS)] = None
        return list(found)

    def noun(self) -> str:
        """A common noun for a family."""
        return self._one(_NOUN_STARTS) + self._one(_NOUN_ENDS)

    def adjective(self) -> str:
        """What tells a species from others of its family, in common speech."""
        return self._one(_ADJECTIVES)

    def _stem(self, syllables: int) -> str:
        parts = [self._one(_ONSETS) + self._one(_VOWELS) for _ in range(syllables - 1)]
        return "".join(parts) + self._one(_ONSETS) + self._one(("a", "e", "i", "o", "u")) + self._one(_CODAS) + "t"

    def _one(self, choices: tuple[str, ...]) -> str:
        return choices[int(self._rng.random() * len(choices))]

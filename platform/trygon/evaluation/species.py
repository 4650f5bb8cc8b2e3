"""Species that sources write under several lineages, as one. Knows nothing of pictures and scores.

Their captions are the same in most text types: as two candidates they would have the same vector, and which of the two
is named would be chance.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from trygon.taxonomy.taxon import Lineage, Rank, Taxon


def joint_lineages(lineages: Iterable[Lineage]) -> dict[Lineage, Lineage]:
    """The lineage that stands for each one: of those with its binomial and no other kingdom the one with most names,
    and of several such the first of the alphabet. The same binomial in two kingdoms is two species."""
    alike: dict[tuple[str, ...], set[Lineage]] = defaultdict(set)
    for lineage in lineages:
        alike[lineage[Rank.GENUS :] if lineage[Rank.GENUS] else lineage].add(lineage)
    return {lineage: _fullest(own, lineage[Rank.KINGDOM]) for own in alike.values() for lineage in own}


def _fullest(lineages: set[Lineage], kingdom: str) -> Lineage:
    """A blank kingdom contradicts none; but where there are two, it may be either, and is neither."""
    several = len({lineage[Rank.KINGDOM] for lineage in lineages} - {""}) > 1
    own = [lineage for lineage in lineages if lineage[Rank.KINGDOM] == kingdom] if several else lineages
    return min(own, key=lambda lineage: (lineage.count(""), lineage))


def joined(taxa: Sequence[Taxon], joint: Mapping[Lineage, Lineage]) -> list[Taxon]:
    """The taxa under the lineages that stand for theirs; under their own where none does."""
    return [Taxon(joint.get(taxon.lineage, taxon.lineage), taxon.common) for taxon in taxa]


def distinct(taxa: Iterable[Taxon]) -> tuple[Taxon, ...]:
    """One taxon a lineage, in the order of the lineages; one with a common name before one without."""
    chosen: dict[Lineage, Taxon] = {}
    for taxon in sorted(taxa, key=lambda taxon: (taxon.lineage, not taxon.common, taxon.common)):
        chosen.setdefault(taxon.lineage, taxon)
    return tuple(chosen.values())

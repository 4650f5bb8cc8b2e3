"""Numbers for clades, the same on every machine, so that arrays can say what belongs together."""

from collections.abc import Sequence

from trygon.storage import stable_id


def clade_keys(lineage: Sequence[str]) -> tuple[int, ...]:
    """A number for each rank, of the clade that the lineage belongs to there; 0 where the rank has no name."""
    return tuple(stable_id(*lineage[: rank + 1]) if name else 0 for rank, name in enumerate(lineage))

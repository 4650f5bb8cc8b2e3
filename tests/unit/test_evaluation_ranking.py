"""Places of clades, in pieces: what ranking all candidates of every sample says."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.evaluation import ranking
from trygon.evaluation.metrics import rank_metrics, wilson
from trygon.evaluation.ranking import rank_clades
from trygon.taxonomy.taxon import RANKS, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree

_NAMES = st.sampled_from(["", "a", "b"])
_TAXA = st.builds(Taxon, st.tuples(*[_NAMES] * 7))
# Whole numbers, so that products are exact and ties many.
_VECTORS = st.lists(st.integers(-2, 2), min_size=2, max_size=2)


def _by_full_rankings(
    score_BN: np.ndarray, truths: list[Taxon], candidates: list[Taxon]
) -> tuple[dict[str, float], list[int]]:
    """The figures from all candidates in the order of their scores, of equal ones in that of their lineages."""
    order_BN = np.argsort(-score_BN, axis=1, kind="stable")
    figures: dict[str, float] = {}
    for rank in Rank:
        named = [(truth, order) for truth, order in zip(truths, order_BN, strict=True) if truth.lineage[rank]]
        clades = [taxon.lineage[: rank + 1] for taxon in candidates]
        for k in (1, 5):
            hits = [
                truth.lineage[: rank + 1] in list(dict.fromkeys(clades[n] for n in order))[:k]
                for truth, order in named
            ]
            share = float(np.mean(hits)) if hits else 0.0
            low, high = wilson(share, len(hits))
            name = f"{RANKS[rank]}/top{k}"
            figures |= {name: share, f"{name}_low": low, f"{name}_high": high}
        figures[f"{RANKS[rank]}/n"] = len(named)
        chances = [Counter(clades)[truth.lineage[: rank + 1]] / len(clades) for truth, _ in named]
        figures[f"{RANKS[rank]}/chance"] = float(np.mean(chances)) if chances else 0.0
    return figures, order_BN[:, 0].tolist()


@pytest.mark.parametrize("scores", [1, 70, 1 << 25])
@given(
    st.lists(st.tuples(_TAXA, _VECTORS), min_size=1, max_size=30, unique_by=lambda pair: pair[0]),
    st.lists(st.tuples(st.integers(0, 29), _VECTORS), min_size=1, max_size=8),
)
def test_figures_are_those_of_full_rankings(
    scores: int, named: list[tuple[Taxon, list[int]]], samples: list[tuple[int, list[int]]]
) -> None:
    tree = TaxonTree.from_taxa([taxon for taxon, _ in named])
    text_ND = np.asarray([vector for _, vector in sorted(named, key=lambda pair: pair[0].lineage)], np.float32)
    truths = [named[number % len(named)][0] for number, _ in samples]
    image_BD = np.asarray([vector for _, vector in samples], np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_SCORES", scores)
        found = rank_clades(image_BD, text_ND, truths, tree)
    expected, best = _by_full_rankings(image_BD @ text_ND.T, truths, tree.taxa)
    figures = rank_metrics(truths, found, tree)
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=0, rel=1e-12)
    assert found.best_B.tolist() == best


def test_scores_that_are_no_numbers_come_last() -> None:
    taxa = [Taxon(("k", "p", "c", "o", "f", "g", name)) for name in "abc"]
    text_ND = np.asarray([[np.nan], [-1], [1]], np.float32)
    found = rank_clades(np.ones((3, 1), np.float32), text_ND, taxa, TaxonTree.from_taxa(taxa))
    assert found.place_BR[:, Rank.SPECIES].tolist() == [2, 1, 0]
    assert found.best_B.tolist() == [2, 2, 2]

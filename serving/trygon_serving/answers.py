"""From vectors to answers as they go over the wire: among the taxa of a label set, or among names of the request.

Shapes: B images, N taxa or names, C clades, D the width of vectors.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast, get_args

import numpy as np

from trygon.labelling.classification import CLASSIFIER, Classifier
from trygon.labelling.classification import Answer as Found
from trygon.taxonomy.taxon import Rank, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon_serving.products import Products
from trygon_serving.wire import Answer, Clade, Decision, LabelsCard, Name, Options, RankName

RANK_NAMES: tuple[RankName, ...] = get_args(RankName)


@dataclass(frozen=True)
class LabelChoice:
    """The taxa of a label set, or of a part of it; `allowed_N` says which may be named, all where it is None."""

    products: Products
    card: LabelsCard
    allowed_N: np.ndarray | None = None

    async def answers(self, vector_BD: np.ndarray, options: Options) -> list[Answer]:
        """One answer a vector."""
        step = self.products.most_rows
        parts = [vector_BD[start : start + step] for start in range(0, len(vector_BD), step)]
        # All of them at once: each would wait behind those of other requests.
        answers = await asyncio.gather(*(self._answers_of(part, options) for part in parts))
        return [answer for some in answers for answer in some]

    async def _answers_of(self, vector_BD: np.ndarray, options: Options) -> list[Answer]:
        probability_BN = await self.products.probabilities(vector_BD)
        return await asyncio.to_thread(self._answers, probability_BN, options)

    def _answers(self, probability_BN: np.ndarray, options: Options) -> list[Answer]:
        classifier = self.products.classifier
        asked = replace(classifier, floor=options.floor, k=options.k, allowed_N=self.allowed_N)
        found = asked.answers(probability_BN)
        rank = rank_of(options)
        if rank is Rank.SPECIES:
            tops = [it.top for it in found]
        else:
            tops = _best_clades(classifier.bank.tree, probability_BN, rank, options.k)
        return [
            _answer(it, [name_of(taxon, p) for taxon, p in top], options) for it, top in zip(found, tops, strict=True)
        ]


@dataclass(frozen=True)
class NameChoice:
    """Names of the request: `vector_ND` beside them. Those that are taxa of the label set stand in `tree`; a name's
    place there is in `place_N`, -1 where it has none."""

    names: Sequence[str]
    vector_ND: np.ndarray
    logit_scale: float
    place_N: np.ndarray
    classifier: Classifier | None
    card: LabelsCard

    async def answers(self, vector_BD: np.ndarray, options: Options) -> list[Answer]:
        """One answer a vector. Names without a lineage have their share in `top` alone."""
        return await asyncio.to_thread(self._answers, vector_BD, options)

    def _answers(self, vector_BD: np.ndarray, options: Options) -> list[Answer]:
        logits_BN = self.logit_scale * (np.asarray(vector_BD, np.float32) @ self.vector_ND.T)
        probability_BN = np.exp(logits_BN - logits_BN.max(1, keepdims=True))
        probability_BN /= probability_BN.sum(1, keepdims=True)
        order_BN = np.argsort(-probability_BN, axis=1, kind="stable")[:, : options.k]
        tops = [
            [self._name(int(i), float(row[i])) for i in order]
            for row, order in zip(probability_BN, order_BN, strict=True)
        ]
        if self.classifier is None:
            return [Answer(top=top) for top in tops]
        share_BT = np.zeros((len(vector_BD), len(self.classifier.bank.tree)), np.float32)
        for name in np.flatnonzero(self.place_N >= 0):  # several names may be one taxon's
            share_BT[:, self.place_N[name]] += probability_BN[:, name]
        found = replace(self.classifier, floor=options.floor, k=1).answers(share_BT)
        return [_answer(it, top, options) for it, top in zip(found, tops, strict=True)]

    def _name(self, index: int, probability: float) -> Name:
        asked, place = self.names[index], int(self.place_N[index])
        if place < 0 or self.classifier is None:
            return Name(rank=None, scientific="", common="", asked=asked, probability=probability)
        name = name_of(self.classifier.bank.tree.taxon(place), probability)
        return name.model_copy(update={"asked": asked})


def rank_of(options: Options) -> Rank:
    """The deepest rank that is named."""
    return Rank(RANK_NAMES.index(options.rank))


def name_of(taxon: Taxon, probability: float) -> Name:
    """A taxon as it goes over the wire."""
    rank = None if taxon.rank is None else RANK_NAMES[taxon.rank]
    return Name(
        kingdom=taxon.lineage[Rank.KINGDOM],
        rank=rank,
        scientific=taxon.scientific,
        common=taxon.common,
        probability=probability,
    )


def _answer(found: Found, top: list[Name], options: Options) -> Answer:
    named = [
        (rank, taxon, p) for rank, (taxon, p) in enumerate(found.ranks[: rank_of(options) + 1]) if taxon.lineage[rank]
    ]
    deepest = -1 if found.rank is None else found.rank
    trusted = [(taxon, p) for rank, taxon, p in named if rank <= deepest]
    return Answer(
        lineage={RANK_NAMES[rank]: Clade(name=taxon.scientific, probability=p) for rank, taxon, p in named},
        taxon=name_of(*trusted[-1]) if trusted else None,
        # Where the request itself goes no deeper, nothing else ended the answer.
        decided_by=CLASSIFIER if len(trusted) == len(named) else cast(Decision, found.reason),
        top=top,
    )


def _best_clades(tree: TaxonTree, probability_BN: np.ndarray, rank: Rank, k: int) -> list[list[tuple[Taxon, float]]]:
    """The k most probable clades of a rank that have a name there."""
    starts_C = tree.clade_starts[rank][tree.clade_named[rank]]
    sum_BC = tree.roll_up(probability_BN, rank)[:, tree.clade_named[rank]]
    order_BK = np.argsort(-sum_BC, axis=1, kind="stable")[:, :k]
    return [
        [(tree.taxon(int(starts_C[clade])).at(rank), float(row[clade])) for clade in order]
        for row, order in zip(sum_BC, order_BK, strict=True)
    ]

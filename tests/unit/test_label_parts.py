"""Parts of a label set: without a copy of its vectors, made once for all who ask, and what is kept of them."""

import asyncio
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.served import write_served
from trygon_serving.answers import LabelChoice
from trygon_serving.labels import LabelSet
from trygon_serving.lookups import Lookups
from trygon_serving.problem import Problem
from trygon_serving.products import Products

_DIM = 64


def _taxon(number: int) -> Taxon:
    names = (f"Classis{number // 4000}", f"Ordo{number // 400}", f"Familia{number // 100}", f"Genus{number // 10}")
    return Taxon(("Animalia", "Chordata", *names, f"species{number}"))


def _labels(num_taxa: int) -> LabelSet:
    tree = TaxonTree.from_taxa(map(_taxon, range(num_taxa)))
    vector_ND = np.random.default_rng(0).standard_normal((num_taxa, _DIM), np.float32)
    bank = LabelBank(tree, np.asfortranarray(vector_ND), 3.0, "model", "", TextType.SCI)
    allowed_N = np.arange(num_taxa) % 3 == 0
    return LabelSet("all", bank, Products(Classifier(bank)), {"thirds": allowed_N})


def _choose(labels: LabelSet, clades: Sequence[str], checklist: str | None = None) -> LabelChoice:
    return asyncio.run(labels.choice(clades, checklist, Lookups()))


_SMALL = _labels(1200)
_CLADES = [*(f"Genus{number}" for number in range(120)), *(f"Familia{number}" for number in range(12)), "Ordo1"]


@given(st.lists(st.sampled_from(_CLADES), min_size=1, max_size=16))
def test_a_part_answers_as_a_bank_of_its_own_does(clades: list[str]) -> None:
    chosen = _choose(_SMALL, clades, "thirds" if "Ordo1" in clades else None)
    classifier = chosen.products.classifier
    copied = _SMALL.bank.within(clades)
    assert classifier.bank.tree.taxa == copied.tree.taxa
    vector_BD = np.random.default_rng(len(clades)).standard_normal((3, _DIM), np.float32)
    expected_BN = Classifier(copied).probabilities(vector_BD)
    np.testing.assert_allclose(classifier.probabilities(vector_BD), expected_BN, rtol=2e-5)
    assert [it.ranks for it in classifier.answers(expected_BN)] == [
        it.ranks for it in Classifier(copied).answers(expected_BN)
    ]
    if chosen.allowed_N is not None:
        numbers = [int(taxon.lineage[-1].removeprefix("species")) for taxon in copied.tree.taxa]
        of_tree = {taxon.lineage: place for place, taxon in enumerate(_SMALL.bank.tree.taxa)}
        places = [of_tree[_taxon(number).lineage] for number in numbers]
        assert chosen.allowed_N.tolist() == [place % 3 == 0 for place in places]


def test_nearly_all_taxa_are_asked_for_without_a_copy_of_their_vectors() -> None:
    labels = _labels(40_000)
    everything_but_one = [f"Classis{number}" for number in range(9)] + [f"Ordo{number}" for number in range(91, 99)]
    vector_BD = np.ones((2, _DIM), np.float32)
    asyncio.run(labels.choice(["Classis0"], None, Lookups()))
    tracemalloc.start()
    part = _choose(labels, everything_but_one).products.classifier
    probability_BN = part.probabilities(vector_BD)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert probability_BN.shape == (2, 39_200)
    assert peak_bytes < labels.bank.vector_ND.nbytes / 2


def test_those_who_ask_for_the_same_clades_share_a_part_whose_names_are_looked_for_once() -> None:
    labels = _labels(400)

    async def run() -> None:
        asked = [labels.choice(it, None, Lookups(1)) for it in (["Genus1", "Genus7"], ["Genus7", "Genus1", "Genus1"])]
        gone, *others = map(asyncio.create_task, (labels.choice(["Genus1", "Genus7"], None, Lookups(1)), *asked))
        await asyncio.sleep(0)
        gone.cancel()
        first, again = await asyncio.gather(*others)
        assert first.products is again.products
        full = Lookups(most=0)
        assert (await labels.choice(["Genus1", "Genus7"], None, full)).products is first.products
        with pytest.raises(Problem, match="Too many searches"):
            await labels.choice(["Genus2"], None, full)
        for _ in range(2):
            with pytest.raises(Problem, match="'Dragons' is not in the label set 'all'"):
                await labels.choice(["Genus1", "Dragons"], None, Lookups())
        assert (await labels.choice(["Genus2"], None, Lookups())).card.num_taxa == 10

    asyncio.run(run())


def test_the_parts_used_least_lately_go_once_there_are_many() -> None:
    labels = _labels(400)

    async def run() -> None:
        lookups = Lookups()
        for number in range(30):
            await labels.choice([f"Genus{number}"], None, lookups)
            await labels.choice(["Genus0"], None, lookups)  # it is asked for each time
        assert [clade for (clade,) in labels.parts] == [*(f"Genus{number}" for number in range(23, 30)), "Genus0"]

    asyncio.run(run())


def test_a_list_of_names_is_looked_up_once(tmp_path: Path) -> None:
    served = write_served(tmp_path)
    labels = LabelSet.load("all", str(served.labels_folder), {}, served.model)
    names, vector_2D = ["red fox", "my dog"], served.model.encode_texts(["red fox", "my dog"])
    first, again, other = (labels.named(it, vector_2D) for it in (names, names, names[::-1]))
    assert first.classifier
    assert first.classifier is again.classifier
    assert (first.place_N.tolist(), other.place_N.tolist()) == ([0, -1], [-1, 0])

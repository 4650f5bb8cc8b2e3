"""Products for several requests at once: what one gets is what it would get alone."""

import asyncio

import numpy as np
import pytest

from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon_serving.products import Products

_DIM = 8


def _classifier(num_taxa: int) -> Classifier:
    tree = TaxonTree.from_taxa(Taxon(("Animalia", "", "", "", "", "", f"s{number:07}")) for number in range(num_taxa))
    vector_ND = np.random.default_rng(0).standard_normal((num_taxa, _DIM), np.float32)
    return Classifier(LabelBank(tree, vector_ND, 10.0, "tiny", "", TextType.SCI))


def _vectors(num: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((num, _DIM), np.float32)


def _together(products: Products, parts: list[np.ndarray]) -> list[np.ndarray]:
    async def ask() -> list[np.ndarray]:
        return await asyncio.gather(*map(products.probabilities, parts))

    return asyncio.run(ask())


def test_who_waits_shares_a_product_and_gets_rows_of_its_own() -> None:
    classifier, vector_BD = _classifier(50), _vectors(6)
    parts = [vector_BD[:1], vector_BD[1:4], vector_BD[4:]]
    answers = _together(Products(classifier), parts)
    assert len({id(it.base) for it in answers}) == 1
    for answer_BN, part_BD in zip(answers, parts, strict=True):
        np.testing.assert_allclose(answer_BN, classifier.probabilities(part_BD), atol=1e-6)


def test_no_product_has_more_rows_than_memory_is_for() -> None:
    products, vector_BD = Products(_classifier(100_000)), _vectors(80)
    assert products.most_rows == 40
    answers = _together(products, list(vector_BD[:, None]))
    shared = [id(it.base) for it in answers]
    assert shared == [shared[0]] * 40 + [shared[-1]] * 40
    assert shared[0] != shared[-1]
    score_BN = products.classifier.bank.products(vector_BD)
    assert [answer_1N.argmax() for answer_1N in answers] == score_BN.argmax(1).tolist()


def test_who_goes_away_takes_nobody_along() -> None:
    products, vector_BD = Products(_classifier(50)), _vectors(3)

    async def ask() -> tuple[np.ndarray, np.ndarray]:
        first, gone, last = (asyncio.create_task(products.probabilities(vector_BD[[row]])) for row in range(3))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await first, await last

    first, last = asyncio.run(ask())
    for answer_BN, row in ((first, 0), (last, 2)):
        np.testing.assert_allclose(answer_BN, products.classifier.probabilities(vector_BD[[row]]), atol=1e-6)


def test_a_product_that_fails_fails_for_those_in_it_alone() -> None:
    products, vector_BD = Products(_classifier(50)), _vectors(2)

    async def ask() -> np.ndarray:
        with pytest.raises(ValueError, match="size 8"):
            await products.probabilities(vector_BD[:, :3])
        return await products.probabilities(vector_BD)

    np.testing.assert_allclose(asyncio.run(ask()), products.classifier.probabilities(vector_BD), atol=1e-6)

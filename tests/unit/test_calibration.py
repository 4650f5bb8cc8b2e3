"""The logit scale that fits photos of known species."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trygon.data.images import encode_jpeg
from trygon.evaluation.zero_shot import Task, encode
from trygon.labelling.bank import LabelBank
from trygon.labelling.calibration import calibrate, fit_logit_scale
from trygon.models.model import load_model
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.tiny import write_tiny_model


def _world(
    scale: float, seed: int, num_photos: int = 3000, num_taxa: int = 40
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of photos whose numbers are their similarities to the taxa, those of the taxa, and the truth."""
    rng = np.random.default_rng(seed)
    similarity_BN = rng.uniform(-0.2, 0.4, (num_photos, num_taxa)).astype(np.float32)
    # A softmax of the scaled similarities draws the truth: Gumbel noise does that.
    truth_B = (scale * similarity_BN + rng.gumbel(size=similarity_BN.shape)).argmax(1)
    return similarity_BN, np.eye(num_taxa, dtype=np.float32), truth_B


def _by_trying_all(similarity_BN: np.ndarray, truth_B: np.ndarray) -> float:
    scales, rows = np.geomspace(1, 200, 213), np.arange(len(truth_B))
    logits = (scale * similarity_BN.astype(np.float64) for scale in scales)
    losses = [np.mean(np.log(np.exp(it).sum(1)) - it[rows, truth_B]) for it in logits]
    return scales[int(np.argmin(losses))]


@given(scale=st.floats(5, 60), seed=st.integers(0, 5))
def test_scale_of_the_world_is_found_again(scale: float, seed: int) -> None:
    assert fit_logit_scale(*_world(scale, seed)) == pytest.approx(scale, rel=0.15)


@pytest.mark.parametrize("scale", [0.1, 1, 5, 17, 60, 199, 1000])
def test_the_least_loss_of_all_scales_is_found_in_blocks_of_any_size(scale: float) -> None:
    vector_BD, label_ND, truth_B = _world(scale, 7, 400)
    best = _by_trying_all(vector_BD, truth_B)
    for num_scores in (1, 7 * 40, 1 << 25):
        assert fit_logit_scale(vector_BD, label_ND, truth_B, num_scores) == pytest.approx(best)


def test_no_more_scores_are_held_than_a_block_has() -> None:
    rng = np.random.default_rng(0)
    vector_BD, label_ND = (rng.normal(size=(rows, 8)).astype(np.float32) / 8 for rows in (500, 2000))
    tracemalloc.start()
    fit_logit_scale(vector_BD, label_ND, rng.integers(0, 2000, 500), 20_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500 * 2000 * 4 / 5  # all scores are 4 MB, a block is 80 kB


def test_similarities_that_say_nothing_get_the_least_scale() -> None:
    rng = np.random.default_rng(0)
    similarity_BN = rng.uniform(-0.2, 0.4, (500, 30))
    assert fit_logit_scale(similarity_BN, np.eye(30), rng.integers(0, 30, 500)) < 3


def test_photos_of_taxa_that_the_labels_have_are_what_counts(tmp_path: Path) -> None:
    model = load_model(write_tiny_model(tmp_path / "model"))
    taxa = [Taxon(("Animalia", "P", "C", "O", "F", "Panthera", epithet)) for epithet in ("leo", "onca", "tigris")]
    bank = LabelBank.build(TaxonTree.from_taxa(taxa[:2]), model, TextType.SCI)
    images = [encode_jpeg(Image.new("RGB", (40, 40), color)) for color in ("red", "green", "blue")]
    task = Task("seen", tuple(images), ("",) * 3, tuple(taxa), ())
    known = encode(model, images[:2], lambda num_done: None)
    assert calibrate(bank, model, task) == (fit_logit_scale(known, bank.vector_ND, np.arange(2)), 2)
    nothing = Task("seen", (images[2],), ("",), (taxa[2],), ())
    assert calibrate(bank, model, nothing) == (bank.logit_scale, 0)

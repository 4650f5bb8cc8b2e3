"""Few-shot accuracy beside a plain slow implementation, and what its draws depend on."""

import numpy as np
import pytest

from trygon.evaluation.few_shot import FOLDS, draw_labelled, few_shot_metrics, fold_accuracy
from trygon.taxonomy.taxon import Taxon


def _taxon(number: int) -> Taxon:
    return Taxon(("Animalia", "P", "C", "O", "F", "G", f"s{number:03d}"))


def _clouds(counts: list[int], dim: int = 12, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (B, D) around a direction for each class, mixed, and their classes (B,)."""
    rng = np.random.default_rng(3)
    class_B = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    vector_BD = rng.normal(size=(len(counts), dim))[class_B] + spread * rng.normal(size=(len(class_B), dim))
    return (vector_BD / np.linalg.norm(vector_BD, axis=1, keepdims=True)).astype(np.float32), class_B


def _slow_accuracy(vector_BD: np.ndarray, class_B: np.ndarray, labelled_B: np.ndarray) -> float:
    """SimpleShot as it is written down: one picture and one class at a time."""
    mean_D = vector_BD[labelled_B].mean(0)
    centred = [(vector - mean_D) / np.linalg.norm(vector - mean_D) for vector in vector_BD]
    centroids = {}
    for number in sorted(set(class_B)):
        own = [it for it, of, labelled in zip(centred, class_B, labelled_B, strict=True) if of == number and labelled]
        centroids[number] = sum(own) / len(own)
    hits = []
    for vector, number, labelled in zip(centred, class_B, labelled_B, strict=True):
        if not labelled:
            hits.append(min(centroids, key=lambda it: np.linalg.norm(vector - centroids[it])) == number)
    return float(np.mean(hits))


@pytest.mark.parametrize("shots", [1, 5])
def test_accuracy_is_that_of_a_plain_implementation(shots: int) -> None:
    vector_BD, class_B = _clouds([6, 9, 14, 30])
    for seed in range(FOLDS):
        share = fold_accuracy(vector_BD, class_B, shots, seed)
        assert share == pytest.approx(_slow_accuracy(vector_BD, class_B, draw_labelled(class_B, shots, seed)))
        assert 0.3 < share < 1


def test_each_class_gives_as_many_and_a_fold_depends_on_its_own_seed() -> None:
    _, class_B = _clouds([6, 9, 14, 30])
    drawn = [draw_labelled(class_B, 5, seed) for seed in range(FOLDS)]
    for labelled_B in drawn:
        assert np.bincount(class_B[labelled_B]).tolist() == [5] * 4
    assert (draw_labelled(class_B, 5, 3) == drawn[3]).all()
    assert len({labelled_B.tobytes() for labelled_B in drawn}) == FOLDS


def test_classes_with_too_few_pictures_are_left_out_and_counted() -> None:
    vector_BD, class_B = _clouds([1, 2, 5, 6, 9], spread=0.05)
    metrics = few_shot_metrics(vector_BD, [_taxon(number) for number in class_B])
    assert (metrics["1/classes"], metrics["1/left_out"], metrics["1/n"]) == (4, 1, 22 - 4)
    assert (metrics["5/classes"], metrics["5/left_out"], metrics["5/n"]) == (2, 3, 15 - 10)
    assert metrics["1/chance"] == 0.25
    assert metrics["1/top1"] == metrics["5/top1"] == 1
    assert metrics["1/top1_std"] == 0


def test_mean_and_deviation_are_those_of_the_folds() -> None:
    vector_BD, class_B = _clouds([6, 9, 14, 30])
    shares = [fold_accuracy(vector_BD, class_B, 1, seed) for seed in range(FOLDS)]
    metrics = few_shot_metrics(vector_BD, [_taxon(number) for number in class_B])
    assert metrics["1/top1"] == pytest.approx(np.mean(shares))
    assert metrics["1/top1_std"] == pytest.approx(np.std(shares))
    assert metrics["1/top1_std"] > 0


def test_where_nothing_is_to_choose_there_is_no_accuracy() -> None:
    metrics = few_shot_metrics(np.ones((3, 4), np.float32), [_taxon(0), _taxon(1), _taxon(1)])
    assert metrics == {"1/classes": 1, "1/left_out": 1, "5/classes": 0, "5/left_out": 2}
    assert few_shot_metrics(np.ones((0, 4), np.float32), [])["1/classes"] == 0

"""Few-shot naming: pictures against the means of a few labelled ones of each species. No caption is needed, so that it
can measure classifiers too. Knows nothing of models.

SimpleShot with CL2N (arXiv:1911.04623), as BioCLIP was measured. Shapes: B pictures, C classes, D the width of the
shared space.
"""

from collections.abc import Sequence

import numpy as np

from trygon.taxonomy.taxon import Taxon

SHOTS = (1, 5)
FOLDS = 5
_CHUNK = 4096
"""Pictures whose similarities to all classes are held at once."""


def few_shot_metrics(vector_BD: np.ndarray, truths: Sequence[Taxon]) -> dict[str, float]:
    """For each number of shots K, `K/top1` over the folds with its deviation `top1_std`; what guessing would reach,
    `chance`; n, the pictures that are named; classes, and those `left_out` for having fewer than K + 1 pictures.

    Where fewer than two classes remain there is nothing to choose, and no `K/top1`.
    """
    index = {lineage: number for number, lineage in enumerate(sorted({taxon.lineage for taxon in truths}))}
    class_B = np.asarray([index[taxon.lineage] for taxon in truths], dtype=np.int64)
    metrics: dict[str, float] = {}
    for shots in SHOTS:
        kept = np.flatnonzero(np.bincount(class_B, minlength=1) > shots)
        metrics |= {f"{shots}/classes": len(kept), f"{shots}/left_out": len(index) - len(kept)}
        if len(kept) < 2:
            continue
        rows = np.isin(class_B, kept)
        renumbered_B = np.searchsorted(kept, class_B[rows])
        shares = [fold_accuracy(vector_BD[rows], renumbered_B, shots, seed) for seed in range(FOLDS)]
        metrics |= {
            f"{shots}/top1": float(np.mean(shares)),
            f"{shots}/top1_std": float(np.std(shares)),
            f"{shots}/chance": 1 / len(kept),
            f"{shots}/n": len(renumbered_B) - shots * len(kept),
        }
    return metrics


def fold_accuracy(vector_BD: np.ndarray, class_B: np.ndarray, shots: int, seed: int) -> float:
    """Share of the other pictures that are nearest to their own class, when `shots` of each class are labelled."""
    labelled_B = draw_labelled(class_B, shots, seed)
    support_SD, support_S = vector_BD[labelled_B], class_B[labelled_B]
    mean_D = support_SD.mean(0)
    support_SD, query_QD = _unit(support_SD - mean_D), _unit(vector_BD[~labelled_B] - mean_D)
    # Every class has as many, so that the mean is a sum of rows in order.
    centroid_CD = support_SD[np.argsort(support_S, kind="stable")].reshape(-1, shots, vector_BD.shape[1]).mean(1)
    # |q - c|² = |q|² - 2 q·c + |c|², and |q| is the same for all classes. Centroids are not of unit length.
    offset_C = (centroid_CD**2).sum(1) / 2
    chunks = np.array_split(query_QD, range(_CHUNK, len(query_QD), _CHUNK))
    nearest_Q = np.concatenate([(chunk @ centroid_CD.T - offset_C).argmax(1) for chunk in chunks])
    return float(np.mean(nearest_Q == class_B[~labelled_B]))


def draw_labelled(class_B: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Which pictures (B,) are labelled: `shots` of each class, drawn from the seed alone."""
    order_B = np.lexsort((np.random.default_rng(seed).random(len(class_B)), class_B))
    count_C = np.bincount(class_B)
    place_B = np.arange(len(class_B)) - np.repeat(np.cumsum(count_C) - count_C, count_C)
    labelled_B = np.zeros(len(class_B), dtype=bool)
    labelled_B[order_B[place_B < shots]] = True
    return labelled_B


def _unit(vector_BD: np.ndarray) -> np.ndarray:
    return vector_BD / np.maximum(np.linalg.norm(vector_BD, axis=1, keepdims=True), 1e-12)

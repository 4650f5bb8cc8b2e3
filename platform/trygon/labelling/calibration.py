"""How sure a model may be: the factor on similarities under which its probabilities fit photos of known species
(temperature scaling, Guo et al. 2017, arXiv:1706.04599).

The factor that contrastive training leaves behind fits the batches of training; among ten thousand species it spreads
probability over all of them, and the clade with the most species wins at the higher ranks.

Shapes: B photos, N taxa.
"""

import numpy as np

from trygon.evaluation.zero_shot import Task, encode
from trygon.labelling.bank import LabelBank
from trygon.models.model import Model

_SCALES = np.geomspace(1, 200, 213)
"""Steps of 2.5 %: the loss is flat about its minimum."""
_STRIDE = 14
"""Every so many scales are tried first, then those about the best: the loss has one minimum (it is convex)."""
_SCORES = 1 << 25
"""Similarities that are held at once: 128 MB, and as much again under a scale."""


def fit_logit_scale(
    vector_BD: np.ndarray, label_ND: np.ndarray, truth_B: np.ndarray, num_scores: int = _SCORES
) -> float:
    """The scale on the products of photos' and taxa's vectors with the least cross-entropy; `truth_B` holds the
    position of each photo's taxon. At most `num_scores` products are held, or those of one photo."""
    coarse = int(np.argmin(_losses(_SCALES[::_STRIDE], vector_BD, label_ND, truth_B, num_scores)))
    near = _SCALES[max(0, coarse - 1) * _STRIDE : (coarse + 1) * _STRIDE]
    return float(near[np.argmin(_losses(near, vector_BD, label_ND, truth_B, num_scores))])


def calibrate(bank: LabelBank, model: Model, task: Task) -> tuple[float, int]:
    """The logit scale that fits the photos whose species the bank holds, and their number; the bank's own for none."""
    position_B = bank.tree.locate(task.truths)
    rows = np.flatnonzero(position_B >= 0)
    if not len(rows):
        return bank.logit_scale, 0
    vector_BD = encode(model, [task.images[row] for row in rows])
    return fit_logit_scale(vector_BD, bank.vector_ND, position_B[rows]), len(rows)


def _losses(
    scales: np.ndarray, vector_BD: np.ndarray, label_ND: np.ndarray, truth_B: np.ndarray, num_scores: int
) -> np.ndarray:
    """The cross-entropy under each scale, summed over the photos: (S,)."""
    loss_S, rows = np.zeros(len(scales)), max(1, num_scores // len(label_ND))
    for start in range(0, len(truth_B), rows):
        block = slice(start, start + rows)
        score_BN = vector_BD[block] @ label_ND.T
        score_BN -= score_BN.max(1, keepdims=True)
        truth_score_B = score_BN[np.arange(len(score_BN)), truth_B[block]]
        scaled_BN = np.empty_like(score_BN)
        for place, scale in enumerate(scales):
            # A scale of double precision would make the products so, too.
            np.multiply(score_BN, score_BN.dtype.type(scale), out=scaled_BN)
            total_B = np.exp(scaled_BN, out=scaled_BN).sum(1)
            loss_S[place] += np.sum(np.log(total_B) - scale * truth_score_B)
    return loss_S

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


def fit_logit_scale(similarity_BN: np.ndarray, truth_B: np.ndarray) -> float:
    """The scale with the least cross-entropy; `truth_B` holds the position of each photo's taxon."""
    losses = [_cross_entropy(scale * similarity_BN, truth_B) for scale in _SCALES]
    return float(_SCALES[int(np.argmin(losses))])


def calibrate(bank: LabelBank, model: Model, task: Task) -> tuple[float, int]:
    """The logit scale that fits the photos whose species the bank holds, and their number; the bank's own for none."""
    positions = {taxon.lineage: position for position, taxon in enumerate(bank.tree.taxa)}
    rows = [row for row, truth in enumerate(task.truths) if truth.lineage in positions]
    if not rows:
        return bank.logit_scale, 0
    vector_BD = encode(model, [task.images[row] for row in rows], lambda num_done: None)
    truth_B = np.asarray([positions[task.truths[row].lineage] for row in rows])
    return fit_logit_scale(vector_BD @ bank.vector_ND.T, truth_B), len(rows)


def _cross_entropy(logits_BN: np.ndarray, truth_B: np.ndarray) -> float:
    highest_B = logits_BN.max(1)
    total_B = np.log(np.exp(logits_BN - highest_B[:, None]).sum(1)) + highest_B
    return float(np.mean(total_B - logits_BN[np.arange(len(truth_B)), truth_B]))

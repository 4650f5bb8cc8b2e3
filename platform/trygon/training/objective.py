"""What training pulls together and pushes apart. An objective takes both sides of the global batch.

Shapes: B the global batch, D the width of the shared space.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather
from torch.nn.functional import cross_entropy, log_softmax

Objective = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(image_BD, text_BD, logit_scale, taxon_B) to a loss; vectors have unit length, `taxon_B` numbers what is shown."""


def clip(image_BD: Tensor, text_BD: Tensor, logit_scale: Tensor, taxon_B: Tensor) -> Tensor:
    """The symmetric contrastive loss of CLIP (arXiv:2103.00020): every other sample is a negative."""
    logits_BB = logit_scale * image_BD @ text_BD.T
    labels_B = torch.arange(len(taxon_B), device=taxon_B.device)
    return (cross_entropy(logits_BB, labels_B) + cross_entropy(logits_BB.T, labels_B)) / 2


def clip_taxa(image_BD: Tensor, text_BD: Tensor, logit_scale: Tensor, taxon_B: Tensor) -> Tensor:
    """CLIP where samples of one taxon are no negatives of each other: they share the target equally
    (as in supervised contrastive learning, arXiv:2004.11362)."""
    logits_BB = logit_scale * image_BD @ text_BD.T
    target_BB = (taxon_B[:, None] == taxon_B[None]).float()
    target_BB /= target_BB.sum(1, keepdim=True)
    image_to_text = -(target_BB * log_softmax(logits_BB, 1)).sum(1).mean()
    text_to_image = -(target_BB * log_softmax(logits_BB.T, 1)).sum(1).mean()
    return (image_to_text + text_to_image) / 2


OBJECTIVES: dict[str, Objective] = {"clip": clip, "clip_taxa": clip_taxa}


def gather(local: Tensor) -> Tensor:
    """The rows of all workers, in rank order; gradients flow back to where they came from."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return local
    if local.requires_grad:
        return torch.cat(all_gather(local))
    parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, local.contiguous())
    return torch.cat(parts)

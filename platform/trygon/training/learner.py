"""What learns, on one worker: the towers in parallel with those of the others, their optimiser, and one step of both.

Shapes: B one worker's samples, M those encoded at once, G all workers'.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trygon.data.plan import shares
from trygon.errors import TrygonError, UserError
from trygon.models.model import Model
from trygon.taxonomy.clades import clade_keys
from trygon.taxonomy.tree import TaxonTree
from trygon.training.division import Division
from trygon.training.objective import CLASSIFIED, OBJECTIVES, Encoded, gather
from trygon.training.optimiser import freeze, optimiser_of, set_learning_rate
from trygon.training.parallel import averaged, batch_norms, in_parallel, mean, sync_off, whole
from trygon.training.precision import computing_in
from trygon.training.settings import TrainSettings
from trygon.training.towers import RankHeads, Towers, trunk_of, with_bias

_MAX_LOGIT_SCALE = math.log(100)
_REPLAY = "replay_"
_TEXT_GROUPS = 4
"""Captions of all text types are 3 to 50 tokens long: a few groups leave little padding."""
_MOST_PASSED_OVER = 30
"""Steps on end: a loss that was scaled by 65,536 is scaled by 0.0001 then, which no overflow withstands."""


class DivergedError(TrygonError):
    """Training leads nowhere any more: on all workers at the same step, before that step changed anything."""


class Learner:
    """The network in training. All workers make the same calls."""

    def __init__(self, model: Model, settings: TrainSettings) -> None:
        net: Any = model.net
        if settings.objective.startswith("siglip"):
            with_bias(net)
        freeze(net, settings)
        if settings.gradient_checkpointing:
            net.set_grad_checkpointing(True)
        self.model, self.settings = model, settings
        # A tower in shards is brought together for each of its calls, which all workers make alike.
        groups = 1 if settings.sharded else _TEXT_GROUPS
        self.towers = Towers(
            model, settings.feature_dropout, _heads(model, settings), groups, replays=bool(settings.replay)
        ).to(model.device)
        self.towers.train()
        for part in (trunk_of(net.visual), net.text):
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()  # what is frozen keeps its batch statistics, and drops nothing
        _check_micro_batch(self.towers, settings)
        in_pieces = not any(it.training for it in batch_norms(self.towers))
        self._divisions = {False: Division.of(settings.batch_size, settings, in_pieces)}
        if settings.replay:
            self._divisions[True] = Division.of(settings.replay_batch_size, settings, in_pieces)
        self.average = averaged(self.towers, settings)  # before: what lies in shards cannot be copied
        self._parallel: Any = in_parallel(self.towers, settings)
        self.optimiser = optimiser_of(self.towers, settings)
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=settings.precision == "fp16")
        self._passed_over = 0

    def step(self, batch: Mapping[str, Tensor], step: int, num_steps: int) -> dict[str, float]:
        """Forward, backward, update. Loss, logit scale, gradient norm and learning rate, the same on all workers.

        Raises `DivergedError` before an update by a loss that is none.
        """
        share = set_learning_rate(self.optimiser, step, num_steps, self.settings.warmup_steps)
        self.optimiser.zero_grad()
        loss, scale = self.backward({name: it for name, it in batch.items() if not name.startswith(_REPLAY)})
        replay_loss = None
        if self.settings.replay:
            pairs = {name.removeprefix(_REPLAY): it for name, it in batch.items() if name.startswith(_REPLAY)}
            replay_loss, _ = self.backward(pairs, replayed=True)
            loss = loss + replay_loss
        if not torch.isfinite(loss):
            raise DivergedError(f"the loss is not finite at step {step + 1}")
        self.scaler.unscale_(self.optimiser)
        parameters = [it for group in self.optimiser.param_groups for it in group["params"]]
        limit = self.settings.max_gradient_norm or math.inf
        norm = whole(torch.nn.utils.clip_grad_norm_(parameters, limit))
        # A scaler passes such a step over by itself, and scales the next loss less.
        self._passed_over = 0 if torch.isfinite(norm) else self._passed_over + 1
        if self._passed_over > (_MOST_PASSED_OVER if self.scaler.is_enabled() else 0):
            raise DivergedError(f"a gradient is not finite at step {step + 1}")
        self.scaler.step(self.optimiser)
        self.scaler.update()
        net: Any = self.towers.net
        with torch.no_grad():
            net.logit_scale.clamp_(0, _MAX_LOGIT_SCALE)
        if self.average:
            self.average.update_parameters(self.towers)
        learned = {"loss": loss.item(), "logit_scale": scale.item(), "gradient_norm": norm.item(), "lr_share": share}
        if self.scaler.is_enabled():
            learned["passed_over"] = float(self._passed_over > 0)
        return learned if replay_loss is None else learned | {"replay_loss": replay_loss.item()}

    def backward(self, batch: Mapping[str, Tensor], replayed: bool = False) -> tuple[Tensor, Tensor]:
        """Add the gradients of the whole batch's loss, given this worker's samples of it; that loss, and the logit
        scale. What is replayed goes by CLIP's loss, and never meets the taxa."""
        count = self._divisions[replayed].num_pieces
        loss, scale = self._at_once(batch, replayed) if count == 1 else self._in_two_passes(batch, count, replayed)
        return mean(loss), scale

    def _at_once(self, batch: Mapping[str, Tensor], replayed: bool) -> tuple[Tensor, Tensor]:
        with self._autocast():
            encoded, scale, bias = self._parallel(batch, replayed)
        loss = self._loss(encoded, scale, bias, replayed)
        self.scaler.scale(loss).backward()
        return loss.detach(), scale.detach()

    def _in_two_passes(self, batch: Mapping[str, Tensor], count: int, replayed: bool) -> tuple[Tensor, Tensor]:
        """Vectors first; then the gradients of the vectors, and once more, piece by piece, what they mean for the
        weights (GradCache, arXiv:2101.06983)."""
        ends = np.cumsum(shares(len(batch["tokens"]), count)).tolist()
        pieces = [{name: column[start:end] for name, column in batch.items()}
                  for start, end in zip([0, *ends], ends, strict=False)]  # fmt: skip
        states, encoded = [], []
        scale = bias = torch.zeros(())
        for piece in pieces:
            states.append(_rng_states(self.model.device))
            with torch.no_grad(), self._autocast():
                part, scale, bias = self.towers(piece, replayed)
            encoded.append(part)
        everything = Encoded(*(torch.cat(parts) for parts in zip(*(part.columns() for part in encoded), strict=True)))
        everything = everything.map(lambda column: column.requires_grad_() if column.is_floating_point() else column)
        scale, bias = (it.detach().clone().requires_grad_() for it in (scale, bias))
        loss = self._loss(everything, scale, bias, replayed)
        self.scaler.scale(loss).backward()
        after = _rng_states(self.model.device)
        for number, (piece, state) in enumerate(zip(pieces, states, strict=True)):
            last = number == len(pieces) - 1
            _set_rng_states(state, self.model.device)
            with self._unsynchronised(not last):
                with self._autocast():
                    part, part_scale, part_bias = self._parallel(piece, replayed)
                rows = slice(ends[number] - len(piece["tokens"]), ends[number])
                gradients = [None if it.grad is None else it.grad[rows] for it in everything.columns()]
                outputs = list(part.columns())
                if last:  # once is enough for what all pieces share
                    outputs += [part_scale, part_bias]
                    gradients += [scale.grad, bias.grad]
                pairs = [
                    (out, it)
                    for out, it in zip(outputs, gradients, strict=True)
                    if out.requires_grad and it is not None
                ]
                torch.autograd.backward([out for out, _ in pairs], [it for _, it in pairs])
        _set_rng_states(after, self.model.device)
        return loss.detach(), scale.detach()

    def _loss(self, mine: Encoded, scale: Tensor, bias: Tensor, replayed: bool) -> Tensor:
        division = self._divisions[replayed]
        sizes = division.sizes
        objective = OBJECTIVES["clip" if replayed else self.settings.objective]
        world = mine.map(lambda column: gather(column, sum(sizes)))
        # Parts add up to the loss; what workers have is averaged over them, gradients too.
        return len(sizes) * objective(mine, world, division.first, scale, bias, division.tile)

    def _autocast(self) -> AbstractContextManager[Any]:
        return computing_in(self.settings.precision, self.model.device)

    def _unsynchronised(self, wanted: bool) -> AbstractContextManager[None]:
        """Gradients of copies stay on this worker while pieces of a batch are still to come."""
        return sync_off(self._parallel) if wanted else nullcontext()


def _heads(model: Model, settings: TrainSettings) -> RankHeads | None:
    ranks = CLASSIFIED.get(settings.objective)
    if ranks is None:
        return None
    key_NR = np.asarray([clade_keys(taxon.lineage) for taxon in TaxonTree.load(settings.taxa).taxa], np.int64)
    keys = [np.unique(key_NR[key_NR[:, rank] != 0, rank]) for rank in ranks]
    torch.manual_seed(settings.seed)  # the same on all workers
    return RankHeads(ranks, keys, model.dim)


def _check_micro_batch(towers: Towers, settings: TrainSettings) -> None:
    if settings.micro_batch and any(it.training for it in batch_norms(towers)):
        raise UserError("micro_batch needs towers without batch normalisation, whose output hangs on the whole batch")


def _rng_states(device: torch.device) -> list[Tensor]:
    """Of the CPU's generator, which layers on a GPU may draw from too (open_clip's PatchDropout), and of the GPU's."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _set_rng_states(states: Sequence[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)

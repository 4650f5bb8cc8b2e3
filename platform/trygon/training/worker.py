"""The loop that each Ray Train worker runs: legs of steps, and checkpoints between them."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from torch import Tensor

from trygon.data.ingest import draw_step_text_type
from trygon.data.plan import Leg, Plan
from trygon.errors import PermanentError, TrygonError, UserError
from trygon.models.model import load_model
from trygon.storage import stable_id
from trygon.training.checkpoint import Position, load_state
from trygon.training.learner import DivergedError, Learner
from trygon.training.metrics import Figures, MetricsFile, flops_per_sample
from trygon.training.objective import CLASSIFIED, gather, loss_of_guessing
from trygon.training.reading import batches_of, plan_of, preparation_of
from trygon.training.reports import Gauges, Reports
from trygon.training.settings import TrainSettings
from trygon.training.staging import patience_for, staged

_LOOK_S = 0.5
_DIVERGED = 2.0
"""A loss this many times what it was at its best is on its way to nowhere."""
_LEARNED, _NOTHING = 0.9, 0.01
"""Who guesses has learned nothing yet, or nothing any more: the share of that loss below which something was learned,
and how near to it a loss is the same."""


@dataclass(frozen=True)
class Tally:
    """The loss of a step, and how many of its pictures are broken, of its captions cut, and of the texts that it
    replays, over all workers; of several steps their sums."""

    loss: float = 0.0
    broken: float = 0.0
    cut: float = 0.0
    replay_cut: float = 0.0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.loss + other.loss, self.broken + other.broken, self.cut + other.cut,
            self.replay_cut + other.replay_cut,
        )  # fmt: skip


def train_worker(config: dict[str, Any]) -> str:
    """Train from the latest checkpoint, or from the initial model, to the end of the plan. Blank, or why training had
    to end before: that is no failure which another start would mend."""
    settings = TrainSettings(**config)
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    if device.type == "cpu":  # Ray gives a worker one thread; its share of the machine are more
        share = (os.cpu_count() or 1) // context.get_local_world_size()
        torch.set_num_threads(settings.threads or max(1, share))
    model = load_model(settings.initial, str(device))
    if settings.initial_digest and model.digest != settings.initial_digest:
        raise PermanentError(
            f"the model in {settings.initial} is another one than when training began: put that back, or give another "
            "--out"
        )
    learner = Learner(model, settings)
    position = Position()
    if checkpoint := ray.train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            position = load_state(Path(folder), learner)
    plan = plan_of(settings)
    log = MetricsFile(settings.metrics, position.step) if rank == 0 else None
    try:
        with memory_told(world_size, settings.most_workers):
            _run(plan, learner, position, rank, world_size, log)
    except DivergedError as error:
        return str(error)
    finally:
        if log:
            log.try_to_save()
    return ""


@contextmanager
def memory_told(world_size: int, most_workers: int) -> Iterator[None]:
    """A step that a GPU cannot hold is the user's to mend: the next try would not fit either. It may where workers
    are away: each has a larger share without them, of weights in shards too."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        kind, which = UserError, ""
        if world_size < most_workers:
            kind, which = TrygonError, f" of {world_size} of {most_workers} workers"
        raise kind(
            f"a GPU's memory does not hold a step{which}: give --micro-batch, --loss-tile, --gradient-checkpointing, "
            f"--sharded or --precision bf16 ({str(error).splitlines()[0]})"
        ) from error


def _run(
    plan: Plan, learner: Learner, position: Position, rank: int, world_size: int, log: MetricsFile | None
) -> None:
    settings = learner.settings
    preparation = preparation_of(learner.model, settings)
    read = batches_of(plan, settings, preparation, position.leg, rank, world_size)
    batches = staged(read, learner.model.device, patience_for(settings.collective_timeout_s))
    figures = Figures(learner.model.device, settings.batch_size + settings.replay_batch_size, settings.precision)
    saved, best, gauges, reports = time.monotonic(), position.best_loss, Gauges(), Reports(learner, rank)
    for index in range(position.leg, plan.num_legs):
        leg = plan.leg(index)
        # What a leg draws (dropout) does not depend on the legs that this process ran before.
        torch.manual_seed(stable_id(str(settings.seed), str(index), str(rank)))
        tally = sum(steps_of(leg, plan, learner, batches, figures, log, gauges), Tally())
        done, mean_loss = leg.first_step + leg.num_steps, tally.loss / leg.num_steps
        check_stand_ins(tally, leg, settings)
        best = best_loss(best, mean_loss, leg, settings)
        position = Position(index + 1, done, best)
        last = position.leg == plan.num_legs
        while last and not _agreed(reports.is_idle, learner):
            time.sleep(_LOOK_S)
        is_due = time.monotonic() - saved > 60 * settings.checkpoint_minutes
        if last or _agreed(is_due and reports.is_idle, learner):
            if log and last:  # nothing tries again later
                log.save()
            elif log:
                log.try_to_save()
            reports.hand_over(position, wait=last)
            saved = time.monotonic()


def best_loss(best: float, mean_loss: float, leg: Leg, settings: TrainSettings) -> float:
    """The least mean loss of a leg, with this leg's; a short one says little and does not count.

    Raises `DivergedError` where the loss has risen far above its best, or has come back from well below what guessing
    gives to just that: all vectors are one then, and nothing moves any more. In the warm-up, where rates that rise may
    raise the loss, no leg is judged.
    """
    if leg.num_steps < settings.steps_per_leg:
        return best
    if leg.first_step >= settings.warmup_steps:
        step, guessing = leg.first_step + leg.num_steps, loss_of_guessing(settings.objective, settings.batch_size)
        if settings.replay:
            guessing += loss_of_guessing(settings.objective, settings.replay_batch_size)
        if mean_loss > max(_DIVERGED * best, best + 1):
            raise DivergedError(f"the loss rose from {best:.3f} to {mean_loss:.3f} by step {step}")
        if best < _LEARNED * guessing and mean_loss > guessing - _NOTHING:
            raise DivergedError(f"by step {step} the loss is back from {best:.3f} at {guessing:.3f}, as by guessing")
    return min(best, mean_loss)


def check_stand_ins(tally: Tally, leg: Leg, settings: TrainSettings) -> None:
    """`PermanentError` where more of a leg's pictures are broken than may be (others stood in for them, again and
    again), or more of its captions, or of the texts that are replayed, longer than the context."""
    steps = f"in steps {leg.first_step + 1} to {leg.first_step + leg.num_steps}"
    cuts = (
        (tally.cut, settings.batch_size, "captions", "give shorter --text-types"),
        (tally.replay_cut, settings.replay_batch_size, "replayed texts", "shorten those of --replay"),
    )
    for found, batch_size, which, way_out in cuts:
        if found > settings.max_cut * leg.num_steps * batch_size:
            raise PermanentError(
                f"{steps}, {found:.0f} of {leg.num_steps * batch_size} {which} are longer than the model's context "
                f"and lose their last words: {way_out}, or give a higher --max-cut"
            )
    num_samples = leg.num_steps * (settings.batch_size + settings.replay_batch_size)
    if tally.broken > settings.max_broken * num_samples:
        raise PermanentError(
            f"{steps}, {tally.broken:.0f} of {num_samples} pictures cannot be read: mend the shards, or train on what "
            "is left of them with a higher --max-broken"
        )


def steps_of(
    leg: Leg, plan: Plan, learner: Learner, batches: Iterator[dict[str, Tensor]], figures: Figures,
    log: MetricsFile | None, gauges: Gauges,
) -> Iterator[Tally]:  # fmt: skip
    """Take the steps of a leg."""
    settings = learner.settings
    blank_L = learner.model.tokenizer([""])[0]
    for step in range(leg.first_step, leg.first_step + leg.num_steps):
        figures.begin()
        batch = next(batches)
        waited_s = figures.waited_s()
        is_first = figures.flops_per_sample is None
        if is_first:
            figures.flops_per_sample = flops_per_sample(learner, batch)
        if settings.text_draw == "step":
            batch["tokens"] = batch["tokens"][:, draw_step_text_type(settings.text_types, step)]
        counts = gather(_counts(batch, settings, blank_L, waited_s, learner.model.device), figures.num_workers).cpu()
        broken, cut, replay_cut = counts[:, :3].sum(0).long().tolist()
        learned = learner.step(batch, step, plan.num_steps)
        if is_first and dist.is_initialized():  # till here they had more time
            dist.set_timeout(timedelta(seconds=settings.collective_timeout_s))
        if log:
            done = step + 1
            line = learned | figures.end(counts[:, 3].max().item(), plan.num_steps - done) | {
                "broken": broken, "cut_captions": cut + replay_cut, "workers": figures.num_workers,
            }  # fmt: skip
            log.add(done, plan.num_steps, leg=leg.index, **line)
            gauges.show(line | {"step": done, "num_steps": plan.num_steps})
        yield Tally(learned["loss"], broken, cut, replay_cut)


def _counts(
    batch: dict[str, Tensor], settings: TrainSettings, blank_L: Tensor, waited_s: float, device: torch.device
) -> Tensor:
    """This worker's part of a step's tally, without the loss, and how long it waited for its samples (1, 4). What
    marks broken pictures is taken out."""

    def num_cut(name: str) -> Tensor | int:
        # Who classifies reads no captions.
        return 0 if name not in batch or settings.objective in CLASSIFIED else num_cut_captions(batch[name], blank_L)

    broken = sum(batch.pop(name).sum() for name in ("broken", "replay_broken") if name in batch)
    counts = (broken, num_cut("tokens"), num_cut("replay_tokens"), waited_s)
    return torch.stack([torch.as_tensor(it, dtype=torch.float32, device=device) for it in counts])[None]


def num_cut_captions(token_BL: Tensor, blank_L: Tensor) -> Tensor:
    """Captions that fill the context: they were cut, the end put in the place of their last words. `blank_L` is a
    caption without any. SigLIP's tokenizer fills captions up with the end itself: there the word before it tells."""
    place = -2 if blank_L[0] == blank_L[-1] else -1
    return (token_BL[:, place] != blank_L[-1]).sum()


def _agreed(mine: bool, learner: Learner) -> bool:
    """Rank 0's answer, on all workers."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return mine
    answer = torch.tensor(int(mine), device=learner.model.device)
    dist.broadcast(answer, 0)
    return bool(answer)

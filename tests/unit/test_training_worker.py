"""When a worker ends training: a loss that leads nowhere, pictures that cannot be read, texts that are cut."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from trygon.data.ingest import PAIR
from trygon.data.plan import Leg, Plan, RowGroup
from trygon.data.row_groups import keep_row_groups
from trygon.errors import PermanentError, UserError
from trygon.models.model import load_model
from trygon.testing.tiny import TINY_SIDE, write_tiny_model
from trygon.training.learner import DivergedError, Learner
from trygon.training.metrics import Figures, MetricsFile
from trygon.training.reading import replay_plan
from trygon.training.reports import Gauges
from trygon.training.settings import TrainSettings
from trygon.training.worker import Tally, best_loss, check_stand_ins, steps_of

_SLOW_S = 2.0


def _settings(**changes: Any) -> TrainSettings:
    return TrainSettings(**{"initial": "", "shards": (), "taxa": "", "metrics": ""} | changes)


def test_a_loss_that_rises_far_above_its_best_ends_training() -> None:
    settings = _settings(warmup_steps=10, steps_per_leg=5)
    best = best_loss(math.inf, 4.0, Leg(2, 10, 5), settings)
    assert best_loss(best, 3.0, Leg(3, 15, 5), settings) == 3.0
    with pytest.raises(DivergedError, match=r"rose from 4.000 to 8.100 by step 20"):
        best_loss(best, 8.1, Leg(3, 15, 5), settings)
    assert best_loss(0.01, 0.9, Leg(3, 15, 5), settings) == 0.01  # little is soon twice as much
    assert best_loss(best, 9.0, Leg(1, 5, 5), settings) == best  # in the warm-up
    assert best_loss(math.inf, 1.9, Leg(1, 5, 5), settings) == 1.9  # which later ones stand beside
    assert best_loss(best, 9.0, Leg(4, 20, 1), settings) == best  # one step alone


def test_a_loss_that_is_back_at_guessing_ends_training() -> None:
    """As after a blow-up in the warm-up: all vectors are one, and no rise is ever seen again."""
    settings = _settings(objective="clip_taxa", warmup_steps=10, steps_per_leg=5, batch_size=32_768)
    guessing = math.log(32_768)
    best = best_loss(best_loss(math.inf, 8.9, Leg(0, 0, 5), settings), 10.2, Leg(1, 5, 5), settings)
    with pytest.raises(DivergedError, match=r"by step 15 the loss is back from 8.900 at 10.397, as by guessing"):
        best_loss(best, guessing, Leg(2, 10, 5), settings)
    assert best_loss(best, guessing - 0.1, Leg(2, 10, 5), settings) == 8.9
    assert best_loss(10.3, guessing, Leg(2, 10, 5), settings) == 10.3  # it has not begun yet
    sigmoid = _settings(objective="siglip", warmup_steps=10, steps_per_leg=5, batch_size=32_768)
    assert best_loss(8.9, 10.5, Leg(2, 10, 5), sigmoid) == 8.9


def test_too_many_broken_pictures_end_training_and_a_few_do_not() -> None:
    leg = Leg(1, 5, 5)
    settings = _settings(batch_size=20, max_broken=0.1)
    check_stand_ins(Tally(broken=10, cut=50), leg, settings)
    with pytest.raises(PermanentError, match="in steps 6 to 10, 11 of 100 pictures cannot be read"):
        check_stand_ins(Tally(broken=11), leg, settings)
    with pytest.raises(PermanentError, match="51 of 100 captions are longer than the model's context"):
        check_stand_ins(Tally(cut=51), leg, settings)
    check_stand_ins(Tally(broken=100, cut=100), leg, _settings(batch_size=20, max_broken=1.0, max_cut=1.0))


def test_replayed_texts_that_are_too_long_are_told_by_themselves() -> None:
    """Shorter text types would not mend them, and there are fewer of them than of captions."""
    leg, settings = Leg(1, 5, 5), _settings(batch_size=20, replay_batch_size=4)
    check_stand_ins(Tally(replay_cut=10), leg, settings)
    with pytest.raises(PermanentError, match=r"11 of 20 replayed texts .*: shorten those of --replay, or"):
        check_stand_ins(Tally(replay_cut=11), leg, settings)
    with pytest.raises(PermanentError, match=r"51 of 100 captions .*: give shorter --text-types, or give a higher"):
        check_stand_ins(Tally(cut=51), leg, settings)


def test_files_without_a_picture_cannot_be_replayed(tmp_path: Path) -> None:
    """Rather than that each worker divides by their number, again and again."""
    empty, kept = str(tmp_path / "00000.parquet"), str(tmp_path / "row_groups.parquet")
    pq.write_table(pa.table({name: pa.array([], pa.string()) for name in PAIR}), empty)
    keep_row_groups(kept, [empty])
    settings = _settings(replay=(empty,), replay_row_groups=kept, replay_batch_size=4, batch_size=4)
    with pytest.raises(UserError, match="--replay: its files hold no pictures"):
        replay_plan(Plan.of([RowGroup("train.parquet", 0, 8)], 1, 2, 4, 0), settings)


def test_workers_wait_for_each_other_as_long_as_told_once_they_have_taken_a_step(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        initial = str(write_tiny_model(tmp_path / "tiny"))
        settings = _settings(initial=initial, objective="clip", batch_size=4, collective_timeout_s=7.5)
        learner = Learner(load_model(initial, "cpu"), settings)
        image = torch.randint(0, 255, (4, 3, TINY_SIDE, TINY_SIDE), dtype=torch.uint8)
        batches = iter([{"image": image, "tokens": learner.model.tokenizer(["a lion"] * 4)}])
        figures, plan = Figures(torch.device("cpu"), 4, "fp32"), Plan.of([RowGroup("a", 0, 8)], 1, 1, 4, 0)
        steps = steps_of(Leg(0, 0, 1), plan, learner, batches, figures, None, Gauges())
        assert _patience_s() > 7.5
        next(steps)
        assert _patience_s() == 7.5
    finally:
        dist.destroy_process_group()


def _wait_for_data(rank: int, initial: str, folder: str) -> None:
    """A step of two workers, of which the second one waits for its batch; the first one's line."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    learner = Learner(load_model(initial, "cpu"), _settings(initial=initial, objective="clip", batch_size=4))

    def read() -> Iterator[dict[str, torch.Tensor]]:
        time.sleep(_SLOW_S * rank)
        image = torch.zeros((2, 3, TINY_SIDE, TINY_SIDE), dtype=torch.uint8)
        yield {"image": image, "tokens": learner.model.tokenizer(["a lion"] * 2)}

    figures, plan = Figures(torch.device("cpu"), 4, "fp32"), Plan.of([RowGroup("a", 0, 8)], 1, 1, 4, 0)
    log = None if rank else MetricsFile(f"{folder}/metrics.jsonl", 0)
    dist.barrier()
    next(steps_of(Leg(0, 0, 1), plan, learner, read(), figures, log, Gauges()))
    dist.destroy_process_group()


def test_the_wait_for_data_is_that_of_the_slowest_worker(tmp_path: Path) -> None:
    """Another one than the first, whose own samples are there at once: they all wait for it."""
    initial = str(write_tiny_model(tmp_path / "tiny"))
    mp.spawn(_wait_for_data, args=(initial, str(tmp_path)), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line["data_s"] > 0.9 * _SLOW_S
    assert line["images_per_s"] == pytest.approx(4 / (line["data_s"] + line["step_s"]), rel=0.01)


def _patience_s() -> float:
    group: Any = dist.group.WORLD
    return group._get_backend(torch.device("cpu")).options._timeout.total_seconds()

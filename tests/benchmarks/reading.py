"""How fast samples are read for training, beside open_clip's WebDataset pipeline on the same samples.

    python tests/benchmarks/reading.py [--images 2048] [--sides 256 512] [--processes 1 2] [--rounds 3]

Both read the same pictures and taxa, from disk, decode, crop at random, resize to 224 pixels, make a caption and its
tokens, and hand over batches. open_clip: `get_wds_dataset` over the WebDataset form, with its own transform for
training. Ours: `ingest.stream` over the Parquet form, and `Preparer` alone in this process. They take turns, and each
number is the median of the rounds. A round reads one epoch and then three, and takes the difference: what a start
costs, and what was prepared ahead of the first batch, counts for neither. A rate per core is samples by CPU seconds of
all processes that take part, which other work on the machine hardly changes; one by the clock is what one waits for.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process is a core, for both

import numpy as np
import psutil
import pyarrow as pa
from PIL import Image

from trygon.data.images import ResizeMode, encode_jpeg
from trygon.data.shards import shard_path, write_rows
from trygon.data.webdataset import shard_name, write_sizes, write_webdataset
from trygon.schemas import SAMPLE
from trygon.storage import read_json
from trygon.taxonomy.captions import MIXED
from trygon.taxonomy.taxon import RANKS
from trygon.testing.tiny import write_tiny_model

SIDE, BATCH, SHARDS = 224, 64, 8


@dataclass(frozen=True)
class Measured:
    """One reading of all samples."""

    samples: int
    wall_s: float
    cpu_s: float


def picture(rng: np.random.Generator, side: int) -> bytes:
    """A JPEG with soft blobs and grain: about as many bytes a pixel as a photo has."""
    blobs = Image.fromarray(rng.integers(0, 255, (side // 16, side // 16, 3), dtype=np.uint8))
    pixels = np.asarray(blobs.resize((side, side), Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-14, 15, (side, side, 1), dtype=np.int16)
    return encode_jpeg(Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)))


def write_samples(folder: Path, count: int, side: int) -> None:
    """The same samples in both forms, `SHARDS` files each. Every picture is another one, of a species of its own: no
    reader gains from having met a caption before."""
    rng = np.random.default_rng(side)
    sizes = {}
    for index in range(SHARDS):
        samples = []
        for sample_id in range(index, count, SHARDS):
            number = sample_id
            lineage = ("Animalia", "Chordata", "Aves", f"Ordo{number % 20}iformes", f"Familia{number % 80}idae")
            names = dict(zip(RANKS, (*lineage, f"Genus{number % 250}", f"species{number}"), strict=True))
            fixed = {
                "common": f"bird number {number}",
                "split": "train",
                "source": "made",
                "source_id": str(sample_id),
            }
            samples.append({"sample_id": sample_id, "image": picture(rng, side)} | names | fixed)
        sizes[shard_name(index)] = write_webdataset(folder / "webdataset" / shard_name(index), samples)
        (folder / "parquet").mkdir(exist_ok=True)
        rows = [{name: sample.get(name) for name in SAMPLE.names} for sample in samples]
        write_rows(shard_path(folder / "parquet", "train", index), pa.Table.from_pylist(rows))
    write_sizes(folder / "webdataset", sizes)


def cpu_seconds() -> dict[int, float]:
    """Of this process and all below it, by process id."""
    seconds = {}
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        try:
            times = process.cpu_times()
            seconds[process.pid] = times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return seconds


def measured(read: Callable[[int], Iterator[int]]) -> Measured:
    """Three epochs less one. `read` yields the sizes of an epoch's or more epochs' batches."""
    short, long = _taken(read(1)), _taken(read(3))
    return Measured(long.samples - short.samples, long.wall_s - short.wall_s, long.cpu_s - short.cpu_s)


def _taken(sizes: Iterator[int]) -> Measured:
    started, before = time.perf_counter(), cpu_seconds()
    samples, wall_s, after = 0, 0.0, before
    for size in sizes:
        samples += size
        wall_s, after = time.perf_counter() - started, cpu_seconds()  # while workers are there to be asked
    # Of processes of the reading before, some end meanwhile: they do not count.
    return Measured(samples, wall_s, sum(seconds - before.get(pid, 0) for pid, seconds in after.items()))


def read_open_clip(folder: Path, processes: int, epochs: int) -> Iterator[int]:
    """open_clip's own pipeline, with as many DataLoader workers."""
    from open_clip import SimpleTokenizer
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from open_clip_train.data import get_wds_dataset

    shards = str(folder / f"webdataset/shard-{{000000..{SHARDS - 1:06d}}}.tar")
    num_samples = sum(read_json(folder / "webdataset/sizes.json").values())
    args = SimpleNamespace(
        train_data=shards, train_num_samples=num_samples * epochs, dataset_resampled=False,
        train_data_upsampling_factors=None, seed=0, workers=processes, world_size=1, batch_size=BATCH,
    )  # fmt: skip
    transform = image_transform_v2(PreprocessCfg(size=SIDE), is_train=True)
    data = get_wds_dataset(args, transform, is_train=True, tokenizer=SimpleTokenizer())
    yield from (len(images) for images, _ in data.dataloader)


def _plan(folder: Path, epochs: int) -> Any:
    from trygon.data.plan import Plan
    from trygon.data.row_groups import list_row_groups
    from trygon.data.shards import list_shards

    groups = list_row_groups([str(path) for path in list_shards(folder / "parquet", "train")])
    return Plan.of(groups, epochs, 10**6, BATCH, seed=0)


def _preparation(folder: Path) -> Any:
    from trygon.data.ingest import Preparation
    from trygon.models.model import load_tokenizer

    return Preparation(partial(load_tokenizer, str(folder / "model")), SIDE, ResizeMode.SHORTEST, MIXED, seed=0)


def read_stream(folder: Path, processes: int, epochs: int) -> Iterator[int]:
    """`ingest.stream` with as many readers, and the buffer that `trygon train` has."""
    from trygon.data.ingest import stream
    from trygon.data.mixing import Samples, ahead, mixed_batches

    plan = _plan(folder, epochs)
    leg = plan.leg(0)
    samples = Samples(stream(plan.visits(leg, 0, 1), _preparation(folder), processes))
    batches = mixed_batches(samples, leg.num_steps, BATCH, 1024, random.Random(0))
    yield from (len(batch["clades"]) for batch in ahead(batches, 600))


def read_preparer(folder: Path, processes: int, epochs: int) -> Iterator[int]:
    """`Preparer` in this process: what preparing costs without Ray."""
    from trygon.data.ingest import Preparer, row_of

    assert processes == 1
    prepare = Preparer(_preparation(folder))
    plan = _plan(folder, epochs)
    for visit in plan.visits(plan.leg(0), 0, 1):
        yield len(prepare({name: np.asarray([value]) for name, value in row_of(visit).items()})["clades"])


READERS = {
    "open_clip, WebDataset": read_open_clip,
    "trygon, Ray Data": read_stream,
    "trygon, Preparer alone": read_preparer,
}


def main() -> None:
    """Measure, and print a Markdown table."""
    from trygon.cluster.local import start_ray

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    start_ray(max(4, *options.processes))
    print(
        "| pixels | reader | processes | samples/s | samples per core second | × open_clip by the clock | per core |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="trygon-reading-") as scratch:
        for side in options.sides:
            folder = Path(scratch) / str(side)
            folder.mkdir()
            write_tiny_model(folder / "model")
            write_samples(folder, options.images, side)
            for processes in options.processes:
                rounds: dict[str, list[Measured]] = {}
                for _ in range(options.rounds):
                    for name, read in READERS.items():
                        if processes == 1 or read is not read_preparer:
                            run = measured(partial(read, folder, processes))
                            rounds.setdefault(name, []).append(run)
                print_rows(side, processes, rounds)


def print_rows(side: int, processes: int, rounds: dict[str, list[Measured]]) -> None:
    """One line a reader. Ratios are those of each round, where both ran one after the other."""
    peer, *_ = rounds.values()
    for name, runs in rounds.items():
        wall, core = ([run.samples / seconds for run, seconds in zip(runs, all_s, strict=True)] for all_s in (
            [run.wall_s for run in runs], [run.cpu_s for run in runs],
        ))  # fmt: skip
        by_clock = [rate / (other.samples / other.wall_s) for rate, other in zip(wall, peer, strict=True)]
        per_core = [rate / (other.samples / other.cpu_s) for rate, other in zip(core, peer, strict=True)]
        figures = " | ".join(f"{statistics.median(rates):.0f}" for rates in (wall, core))
        ratios = " | ".join(f"{statistics.median(ratios):.2f}" for ratios in (by_clock, per_core))
        print(f"| {side} | {name} | {processes} | {figures} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()

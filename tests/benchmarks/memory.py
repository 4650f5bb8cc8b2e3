"""What `trygon label` takes as the archive grows: memory of its processes, seconds, and what Ray costs beside a loop.

    python tests/benchmarks/memory.py OUT [--files 1000 10000 100000]

Small pictures (64 × 48 pixels), whole frames, a model of two layers: nearly all of the work is what is done for every
file whatever its size. Memory is what a process has for itself: resident, less what it shares, sampled five times a
second. The loop reads, decodes, encodes and commits a thousand of the files in one process and thread, without Ray.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from PIL import Image

from trygon.archive.detection.detector import WHOLE_FRAMES
from trygon.archive.finder import Finder
from trygon.archive.gathering import gathered
from trygon.archive.inputs.listing import Archive, write_listing
from trygon.archive.media.reading import Reading
from trygon.archive.pipeline import READ, frames_of
from trygon.archive.run_folder.parts import Parts, PartWriter
from trygon.archive.work import Work
from trygon.data.images import encode_jpeg
from trygon.lease import Hold
from trygon.models.encoders import find_encoder
from trygon.models.folder import describe
from trygon.storage import read_json
from trygon.testing.tiny import write_tiny_model

_TAXA = "kingdom,phylum,class,order,family,genus,species,common\n" + "".join(
    f"Animalia,Chordata,Mammalia,Carnivora,Felidae,Panthera,species{number},\n" for number in range(100)
)
_BATCH, _PART = 8, 64
_PER_CAMERA = 2000


@dataclass
class Cost:
    """Of a command: seconds, CPU seconds of all its processes, and the most memory of each kind of process."""

    seconds: float = 0
    cpu_of: dict[int, float] = field(default_factory=dict)
    driver_mb: float = 0
    worker_mb: float = 0
    """Of the largest worker."""
    all_mb: float = 0

    def sample(self, process: psutil.Process) -> None:
        """Take in what its processes have now."""
        total = 0.0
        for member in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                memory = member.memory_info()
                own = (memory.rss - memory.shared) / 1e6
                total += own
                self.cpu_of[member.pid] = sum(member.cpu_times()[:2])
                if member.pid == process.pid:
                    self.driver_mb = max(self.driver_mb, own)
                elif member.name().startswith("ray::"):
                    self.worker_mb = max(self.worker_mb, own)
        self.all_mb = max(self.all_mb, total)


def trygon(*words: str | Path) -> Cost:
    """Run a command."""
    cost, start = Cost(), time.monotonic()
    command = subprocess.Popen([sys.executable, "-m", "trygon_jobs", *map(str, words)], stderr=subprocess.DEVNULL)
    process = psutil.Process(command.pid)
    while command.poll() is None:
        with suppress(psutil.NoSuchProcess):
            cost.sample(process)
        time.sleep(0.2)
    if command.returncode:
        raise SystemExit(f"trygon {words[0]} failed")
    cost.seconds = time.monotonic() - start
    return cost


def write_archive(root: Path, num: int) -> Path:
    """So many small pictures; many are the same, which nothing in the pipeline uses."""
    rng = np.random.default_rng(0)
    some = [encode_jpeg(Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8))) for _ in range(50)]
    for number in range(num):
        path = root / f"camera-{number // _PER_CAMERA:03d}/IMG_{number % _PER_CAMERA:04d}.JPG"
        if number % _PER_CAMERA == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(some[number % len(some)])
    return root


def loop(archive: Path, model: Path, num: int) -> float:
    """CPU seconds an image of the same stages without Ray."""
    work = Work(Archive(str(archive)), find_encoder("torch", describe(str(model))), WHOLE_FRAMES, Reading())
    frames, finder = frames_of(work), Finder(work, 1)
    with tempfile.TemporaryDirectory() as scratch:
        batches = write_listing(work.archive, scratch, Hold()).batches()
        rows = chain.from_iterable(batch.to_pylist() for batch in batches)
        listed = [row | {"part": place // _PART} for place, row in enumerate(islice(rows, num - num % _PART))]
        writer = PartWriter(Parts(scratch), 0, [_PART] * (len(listed) // _PART))

        def found() -> Iterator[dict[str, Any]]:
            rows = chain.from_iterable(map(frames.rows, listed))
            while some := list(islice(rows, _BATCH)):
                yield from finder(pa.Table.from_pylist(some, READ)).to_pylist()

        start = time.process_time()
        for row in gathered(found()):
            writer.add(row.pop("part"), row)
        assert not writer.num_open
        return (time.process_time() - start) / len(listed)


def main() -> None:
    """Label archives of growing size, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--files", type=int, nargs="+", default=[1000, 10_000, 100_000])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    model, labels, taxa = (given.out / name for name in ("model", "labels", "taxa.csv"))
    write_tiny_model(model)
    taxa.write_text(_TAXA)
    trygon("build-labels", "--model", model, "--taxa", taxa, "--out", labels, "--empty-clade")
    print("| files | seconds | CPU seconds | images/s | driver, MB | largest worker, MB | all, MB |")
    print("|---|---|---|---|---|---|---|")
    costs = []
    for num in given.files:
        archive, run = write_archive(given.out / f"archive-{num}", num), given.out / f"run-{num}"
        shutil.rmtree(run, ignore_errors=True)
        words = ("--model", model, "--labels", labels, "--detector", "none", "--out", run)
        cost = trygon("label", archive, *words)
        costs.append((num, sum(cost.cpu_of.values())))
        speed = read_json(run / "summary.json")["images_per_s"] or 0  # which is not known of a short run
        memory = f"{cost.driver_mb:.0f} | {cost.worker_mb:.0f} | {cost.all_mb:.0f}"
        print(f"| {num:,} | {cost.seconds:.0f} | {costs[-1][1]:.0f} | {speed:.0f} | {memory} |", flush=True)
    alone = loop(given.out / f"archive-{given.files[0]}", model, min(1000, given.files[0]))
    print(f"\nloop: {1000 * alone:.2f} CPU ms an image")
    for (few, less), (many, more) in pairwise(costs):
        print(f"from {few:,} to {many:,} files: {1000 * (more - less) / (many - few):.2f} CPU ms an image")


if __name__ == "__main__":
    main()

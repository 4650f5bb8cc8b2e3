"""Which captions a text tower learns first: those of the data's own taxa in every text type, then many others."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from trygon.taxonomy.captions import TextType, caption
from trygon.taxonomy.taxon import Taxon


def caption_curriculum(
    own: Sequence[Taxon], others: Path | None, count: int, text_types: Sequence[TextType], seed: int
) -> list[str]:
    """`count` distinct captions at most, half of them of the data's own taxa where there are so many. Of other taxa
    those with a common name come, a text type drawn for each; half of them from the orders of the own ones."""
    rng = random.Random(seed)
    captions = [caption(taxon, text_type) for taxon in own for text_type in text_types]
    rng.shuffle(captions)
    if others:
        taxa = _named_taxa(others, {taxon.lineage[3] for taxon in own}, count, seed)
        captions = captions[: count // 2] + [caption(taxon, rng.choice(list(text_types))) for taxon in taxa]
    return list(dict.fromkeys(captions))[:count]


def _named_taxa(path: Path, orders: set[str], count: int, seed: int) -> list[Taxon]:
    table = pq.read_table(path)
    has_common = np.asarray([bool(name) for name in table["common"].to_pylist()])
    near = has_common & np.asarray([order in orders for order in table["order"].to_pylist()])
    rng = np.random.default_rng(seed)
    near_rows, far_rows = (rng.permutation(np.flatnonzero(mask)) for mask in (near, has_common & ~near))
    picked = np.concatenate([near_rows[: count // 2], far_rows])[:count]
    return [Taxon.from_row(row) for row in table.take(picked).to_pylist()]

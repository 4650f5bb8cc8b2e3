"""Shards to training batches with Ray Data: decode or look up, augment, caption, tokenise.

Everything drawn at random comes from (seed, epoch, sample id): a sample looks the same on whichever worker, in
whichever run. Shapes: B samples, S side, L tokens, F the width of the image trunk's features.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import ray.data
from PIL import Image, ImageOps
from torch import Tensor

from trygon.data.images import ResizeMode, decode, square, to_array
from trygon.storage import filesystem, stable_id
from trygon.taxonomy.captions import TextType, caption
from trygon.taxonomy.taxon import Taxon
from trygon.training.plan import RowGroup, Visit


@dataclass(frozen=True)
class Preparation:
    """How a row becomes a training sample: what the model `ref` reads. Features are used in place of pictures where a
    shard holds them."""

    ref: str
    side: int
    resize_mode: ResizeMode
    text_types: tuple[TextType, ...]
    seed: int
    crop_scale: tuple[float, float] = (0.9, 1.0)


def list_row_groups(paths: Sequence[str]) -> list[RowGroup]:
    """The row groups of Parquet shards, from their footers."""
    groups = []
    for path in paths:
        source, name = filesystem(path)
        metadata = pq.ParquetFile(name, filesystem=source).metadata
        groups += [RowGroup(str(path), i, metadata.row_group(i).num_rows) for i in range(metadata.num_row_groups)]
    return groups


def stream(
    visits: Sequence[Visit], preparation: Preparation, batch_size: int, shuffle_rows: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Batches of one worker's visits, in order: `image` (B, 3, S, S) uint8 or `feature` (B, F), `tokens` (B, L),
    `taxon` (B,). A buffer of `shuffle_rows` mixes neighbours, always in the same way."""
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    rows = [{"path": visit.row_group.path, "index": visit.row_group.index, "epoch": visit.epoch} for visit in visits]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        Preparer,
        fn_constructor_args=(preparation,),
        batch_size=1,
        num_cpus=0.5,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    epoch = visits[0].epoch if visits else 0
    return iter(
        dataset.iter_torch_batches(
            batch_size=batch_size,
            drop_last=True,
            local_shuffle_buffer_size=shuffle_rows or None,
            local_shuffle_seed=preparation.seed + epoch if shuffle_rows else None,
        )
    )


class Preparer:
    """Turns row groups into arrays; holds the tokenizer."""

    def __init__(self, preparation: Preparation) -> None:
        from trygon.models.model import load_tokenizer

        self.preparation = preparation
        self.tokenizer = load_tokenizer(preparation.ref)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        parts = [
            self._row_group(str(path), int(index), int(epoch))
            for path, index, epoch in zip(batch["path"], batch["index"], batch["epoch"], strict=True)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _row_group(self, path: str, index: int, epoch: int) -> dict[str, np.ndarray]:
        source, name = filesystem(path)
        rows = pq.ParquetFile(name, filesystem=source).read_row_group(index).to_pylist()
        taxa = [Taxon.from_row(row) for row in rows]
        texts = [
            caption(taxon, draw_text_type(self.preparation, epoch, row["sample_id"]))
            for taxon, row in zip(taxa, rows, strict=True)
        ]
        prepared = {
            "tokens": self.tokenizer(texts).numpy(),
            "taxon": np.asarray([stable_id(*taxon.lineage) for taxon in taxa], np.int64),
        }
        if "feature" in rows[0]:
            return prepared | {"feature": np.asarray([row["feature"] for row in rows], np.float32)}
        images = [self._image(row, epoch) for row in rows]
        return prepared | {"image": np.stack(images)}

    def _image(self, row: dict[str, Any], epoch: int) -> np.ndarray:
        rng = random.Random(f"{self.preparation.seed}/{epoch}/{row['sample_id']}/image")
        image = augment(decode(row["image"]), self.preparation.crop_scale, rng)
        return to_array(square(image, self.preparation.side, self.preparation.resize_mode))


def draw_text_type(preparation: Preparation, epoch: int, sample_id: int) -> TextType:
    """The text type of a sample in an epoch."""
    return random.Random(f"{preparation.seed}/{epoch}/{sample_id}/text").choice(preparation.text_types)


def augment(image: Image.Image, scale: tuple[float, float], rng: random.Random) -> Image.Image:
    """A crop of a share of the area, at the picture's own aspect, and a mirror image half the time."""
    share = rng.uniform(*scale) ** 0.5
    width, height = max(1, round(image.width * share)), max(1, round(image.height * share))
    left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    cropped = image.crop((left, top, left + width, top + height))
    return ImageOps.mirror(cropped) if rng.random() < 0.5 else cropped

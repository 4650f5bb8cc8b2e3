"""Features of a frozen image trunk, computed once: what every epoch would compute again (LiT, arXiv:2111.07991)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
import torch

from trygon.cluster.pool import map_on_pool
from trygon.data.images import preprocess
from trygon.data.shards import open_shard
from trygon.models.model import load_model
from trygon.storage import name_of

ROWS_PER_TASK = 64


class FeatureWriter:
    """Reads a shard and writes the same rows with `feature` in place of `image`, unless that file is there."""

    def __init__(self, model_ref: str, out: str, device: str) -> None:
        self.model = load_model(model_ref, device)
        self.out = Path(out)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"rows": np.asarray([self._shard(str(path)) for path in batch["path"]])}

    def _shard(self, place: str) -> int:
        target = self.out / name_of(place)
        if target.is_file():
            return pq.ParquetFile(target).metadata.num_rows
        with open_shard(place) as shard:
            table = shard.read()
        feature_BF = np.concatenate(
            [self._features(batch["image"].to_pylist()) for batch in table.to_batches(ROWS_PER_TASK)]
        )
        column = pa.FixedSizeListArray.from_arrays(pa.array(feature_BF.ravel()), feature_BF.shape[1])
        partial = target.with_suffix(".partial")
        pq.write_table(table.drop(["image"]).append_column("feature", column), partial, row_group_size=ROWS_PER_TASK)
        partial.rename(target)
        return table.num_rows

    @torch.inference_mode()
    def _features(self, images: Sequence[bytes]) -> np.ndarray:
        image_BCHW = np.stack([preprocess(data, self.model.side, self.model.resize_mode) for data in images])
        visual: Any = self.model.net.visual
        return visual.trunk(self.model.normalise(torch.from_numpy(image_BCHW))).float().cpu().numpy()


def write_features(
    shards: Sequence[str],
    model_ref: str,
    out: Path,
    num_workers: int,
    use_gpu: bool,
    progress: Callable[[int], None],
) -> list[str]:
    """Feature shards of all shards; those that are there are not made again. Their paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = ray.data.from_items([{"path": path} for path in shards], override_num_blocks=len(shards))
    num = min(num_workers, len(shards))
    device, num_gpus = ("cuda", 1) if use_gpu else ("cpu", 0)
    done = map_on_pool(
        paths, FeatureWriter, model_ref, str(out), device, size=num, batch_size=1, num_cpus=1, num_gpus=num_gpus
    )
    for row in done.iter_rows():
        progress(row["rows"])
    return [str(out / name_of(place)) for place in shards]

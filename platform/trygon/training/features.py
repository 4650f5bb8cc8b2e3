"""Features of a frozen image trunk, computed once: what every epoch would compute again (LiT, arXiv:2111.07991)."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray.data
import torch

from trygon.cluster.pool import map_on_pool
from trygon.data.images import BadImage, preprocess
from trygon.data.ingest import READER_CPUS
from trygon.data.shards import ROW_GROUP_ROWS, open_shard, write_rows
from trygon.models.model import load_model
from trygon.storage import exists, is_remote, join, name_of
from trygon.training.precision import computing_in
from trygon.training.settings import Precision
from trygon.training.towers import trunk_of


class FeatureWriter:
    """Reads a shard and writes the same rows with `feature` in place of `image`, unless that file is there."""

    def __init__(self, model_ref: str, out: str, device: str, precision: Precision, num_readers: int) -> None:
        self.model = load_model(model_ref, device)
        self.out = out
        self._precision: Precision = precision
        self._readers = ThreadPoolExecutor(num_readers)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"rows": np.asarray([self._shard(str(path)) for path in batch["path"]])}

    def _shard(self, place: str) -> int:
        target = join(self.out, name_of(place))
        if exists(target):
            with open_shard(target) as shard:
                return shard.metadata.num_rows
        with open_shard(place) as shard:
            table = shard.read()
        parts = [self._features(batch["image"].to_pylist()) for batch in table.to_batches(ROW_GROUP_ROWS)]
        feature_BF, broken_B = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        column = pa.FixedSizeListArray.from_arrays(pa.array(feature_BF.ravel()), feature_BF.shape[1])
        table = table.drop(["image"]).append_column("feature", column).append_column("broken", pa.array(broken_B))
        write_rows(target, table)
        return table.num_rows

    @torch.inference_mode()
    def _features(self, images: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Features, and where there are none because the picture is broken."""
        side = self.model.side
        image_BCHW, broken_B = np.zeros((len(images), 3, side, side), np.uint8), np.zeros(len(images), np.bool_)

        def decode(row: int) -> None:
            try:
                image_BCHW[row] = preprocess(images[row], side, self.model.resize_mode)
            except BadImage:
                broken_B[row] = True

        deque(self._readers.map(decode, range(len(images))), maxlen=0)
        trunk = trunk_of(self.model.net.visual)
        with computing_in(self._precision, self.model.device):
            feature_BF = trunk(self.model.normalise(torch.from_numpy(image_BCHW)))
        return feature_BF.float().cpu().numpy(), broken_B


def shape_of_worker(num_readers: int, use_gpu: bool) -> dict[str, float]:
    """What a worker takes that decodes with so many readers, as in training."""
    cpus = {"CPU": 1 + READER_CPUS * num_readers}
    return cpus | {"GPU": 1.0} if use_gpu else cpus


def write_features(
    shards: Sequence[str],
    model_ref: str,
    out: str,
    num_workers: int,
    num_readers: int,
    use_gpu: bool,
    precision: Precision,
    progress: Callable[[int], None],
) -> list[str]:
    """Feature shards of all shards; those that are there are not made again. Their places, as `out` is:
    a whole path or an address. Workers are of `shape_of_worker`."""
    if not is_remote(out):
        Path(out).mkdir(parents=True, exist_ok=True)
    paths = ray.data.from_items([{"path": path} for path in shards], override_num_blocks=len(shards))
    num = min(num_workers, len(shards))
    device, shape = "cuda" if use_gpu else "cpu", shape_of_worker(num_readers, use_gpu)
    done = map_on_pool(
        paths, FeatureWriter, model_ref, out, device, precision, num_readers,
        size=num, batch_size=1, num_cpus=shape["CPU"], num_gpus=shape.get("GPU", 0),
    )  # fmt: skip
    for row in done.iter_rows():
        progress(row["rows"])
    return [join(out, name_of(place)) for place in shards]

"""The Ray Data pipeline over an archive: read and decode in tasks, detect and embed in actors, rows to the caller.

Every frame is read and decoded once. What cannot be used is a row with a reason. Nothing is written here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import ray
from PIL import Image
from ray.data import DataContext
from ray.exceptions import RayError

from trygon.archive.detection import WHOLE_FRAME, Box, Detector, crop
from trygon.archive.frames import FRAME, read_frame
from trygon.archive.planning import Plan
from trygon.archive.work import Work
from trygon.cluster.pool import map_on_pool
from trygon.data.images import square, to_array
from trygon.errors import origin
from trygon.schemas import DETECTION, MEDIA
from trygon.storage import stable_id

_BATCH = 8
_BLOCK_BYTES = 48 << 20
"""Blocks of decoded frames: small, so that progress is steady and memory bounded."""

_OUTPUT = pa.schema(
    [pa.field("part", pa.int64()), *MEDIA, pa.field("detections", pa.list_(pa.struct(list(DETECTION))))]
)


@dataclass(frozen=True)
class Workers:
    """The actors that hold the networks: how many, and what each of them gets."""

    num: int
    num_cpus: int
    num_gpus: int

    @classmethod
    def fit(cls, resources: Mapping[str, float], wanted: int = 0) -> "Workers":
        """One a GPU; without GPUs one for every four CPUs, one CPU left for decoding."""
        cpus, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
        if gpus:
            return cls(wanted or gpus, 1, 1)
        each = max(1, min(4, cpus // 2))
        return cls(wanted or max(1, (cpus - 1) // each), each, 0)


def label_frames(work: Work, plan: Plan, num_workers: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Part number and row (MEDIA with `detections`) of every planned frame, in any order. Ray must be running."""
    DataContext.get_current().target_max_block_size = _BLOCK_BYTES
    workers = Workers.fit(ray.cluster_resources(), num_workers)
    read = work.detector.card.input_side if work.detector else 0
    frames = ray.data.range(len(plan.sizes), override_num_blocks=len(plan.sizes)).map_batches(
        _read_parts(plan, work, read), batch_size=1, batch_format="pyarrow"
    )
    rows = map_on_pool(
        frames,
        Finder,
        work,
        size=workers.num,
        num_cpus=workers.num_cpus,
        num_gpus=workers.num_gpus,
        batch_size=_BATCH,
        batch_format="pyarrow",
    )
    try:
        for batch in cast("Iterable[pa.Table]", rows.iter_batches(batch_size=None, batch_format="pyarrow")):
            for row in batch.to_pylist():
                yield row.pop("part"), row
    except RayError as error:
        # Our own errors say in one line what the user can mend.
        raise origin(error) from error


def _read_parts(plan: Plan, work: Work, input_side: int) -> Callable[[pa.Table], Iterator[pa.Table]]:
    def read(listed: dict[str, Any]) -> dict[str, Any]:
        # What a listing refuses is not looked at.
        return {} if listed["failure"] else read_frame(work.archive, listed, input_side, work.reading)

    def read_all(indices: pa.Table) -> Iterator[pa.Table]:
        for index in indices["id"].to_pylist():
            for batch in plan.part(index).to_batches(max_chunksize=_BATCH):
                rows = [row | {"part": plan.first + index} | read(row) for row in batch.to_pylist()]
                yield pa.Table.from_pylist(rows, _FRAME)

    return read_all


_FRAME = pa.schema([pa.field("part", pa.int64()), *MEDIA, *FRAME])


class Finder:
    """Holds the detector and the image tower of one worker: decoded frames in, detections with vectors out."""

    def __init__(self, work: Work) -> None:
        import torch

        from trygon.models.model import load_described

        num_threads = _num_threads()
        torch.set_num_threads(num_threads)
        self._tower = load_described(work.model)
        self._detector = Detector(work.detector, num_threads) if work.detector else None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """A batch of frames to rows of MEDIA with their detections."""
        rows = batch.to_pylist()
        readable = [row for row in rows if row["failure"] is None]
        images = [Image.frombuffer("RGB", (row["frame_width"], row["frame_height"]), row["frame"]) for row in readable]
        found = self._find(readable, images)
        crops = [
            to_array(square(crop(image, box), self._tower.side, self._tower.resize_mode))
            for image, boxes in zip(images, found, strict=True)
            for box in boxes
        ]
        vector_BD = self._tower.encode_images(np.stack(crops)) if crops else np.zeros((0, 0), np.float32)
        vectors = iter(vector_BD.astype(np.float16))
        detections = {
            row["media_id"]: [_detection(row["media_id"], box, next(vectors)) for box in boxes]
            for row, boxes in zip(readable, found, strict=True)
        }
        rows = [row | {"detections": detections.get(row["media_id"], [])} for row in rows]
        return pa.Table.from_pylist(rows, _OUTPUT)

    def _find(self, rows: list[dict[str, Any]], images: list[Image.Image]) -> list[list[Box]]:
        if self._detector is None:
            return [[replace(WHOLE_FRAME)] for _ in rows]
        side = self._detector.card.input_side
        inputs = [np.frombuffer(row["input"], np.uint8).reshape(side, side, 3) for row in rows]
        return self._detector.detect(np.stack(inputs), [image.size for image in images]) if inputs else []


def _num_threads() -> int:
    """As many threads as this worker was given CPUs, but no more than the machine has."""
    import os

    given = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    return max(1, min(int(given), os.cpu_count() or 1))


def _detection(media_id: int, box: Box, vector_D: np.ndarray) -> dict[str, Any]:
    place = f"{box.x:.4f} {box.y:.4f} {box.width:.4f} {box.height:.4f}"
    return {
        "detection_id": stable_id("detection", str(media_id), box.category, place),
        "media_id": media_id,
        "category": box.category,
        "confidence": box.confidence,
        "x": box.x,
        "y": box.y,
        "width": box.width,
        "height": box.height,
        "vector": vector_D,
    }

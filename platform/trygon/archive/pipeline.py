"""The Ray Data pipeline over an archive: read and decode in tasks, detect and embed in actors, rows to the caller.

Every frame is read and decoded once. What cannot be used is a row with a reason. Nothing is written here.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, cast

import pyarrow as pa
import ray
from ray.data import DataContext
from ray.exceptions import RayError

from trygon.archive.detection.detector import DetectorFile, WholeFrames
from trygon.archive.detection.results import Results
from trygon.archive.finder import Finder
from trygon.archive.gathering import gathered
from trygon.archive.media.frames import FRAME, Frames
from trygon.archive.run_folder.planning import Plan
from trygon.archive.work import Work
from trygon.cluster.local import inside_cluster
from trygon.cluster.pool import map_on_pool
from trygon.errors import UserError, origin
from trygon.schemas import MEDIA

_BATCH = 8
_THREADS = 4
"""That share a network on CPUs, where there are as many."""

_BLOCK_BYTES, _LEAST_BLOCK_BYTES = 48 << 20, 1 << 20
"""Blocks of decoded frames: small, so that progress is steady and memory bounded."""


@dataclass(frozen=True)
class Workers:
    """The actors that hold the networks: how many, the threads that call each, and what Ray keeps for it."""

    num: int
    num_threads: int
    num_cpus: float
    num_gpus: int

    @classmethod
    def fit(
        cls,
        resources: Mapping[str, float],
        wanted: int = 0,
        on_gpu: bool = True,
        use_gpu: bool | None = None,
        may_grow: bool = False,
    ) -> "Workers":
        """One a GPU; without GPUs one for every four CPUs. `UserError` where there are too few of them.

        On CPUs as many threads run networks as there are CPUs, and half of these are kept for that: the other half may
        decode as well. Whichever of both is slower gets the time of all of them, for the other one then waits.

        `on_gpu` says whether the networks can run on GPUs, and `use_gpu` whether they shall, which they can then: None
        for where there are some. A cluster that `may_grow` starts nodes for what is `wanted`; as long as it has none,
        only the user knows how much that is.
        """
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        if use_gpu:
            _require_gpus(gpus, wanted, may_grow)
        if use_gpu or (gpus and on_gpu and use_gpu is None):
            return cls(wanted or gpus, 2, 1, 1)  # one thread prepares while the other one's batch is on the GPU
        if may_grow and not cpus:
            if not wanted:
                raise UserError(
                    "the cluster has no CPUs yet: say with --num-workers for how many workers it shall start nodes, "
                    "and with --use-gpu that each takes a GPU"
                )
            return cls(wanted, _THREADS, _THREADS / 2, 0)
        num = wanted or max(1, cpus // _THREADS)
        return cls(num, _THREADS, min(_THREADS, cpus / num) / 2, 0)

    @property
    def batch_size(self) -> int:
        """Frames that a network takes at once."""
        return 4 * _BATCH if self.num_gpus else _BATCH


def _require_gpus(gpus: int, wanted: int, may_grow: bool) -> None:
    if may_grow and not (wanted or gpus):
        raise UserError("--use-gpu: the cluster has no GPU yet: say with --num-workers how many it shall start")
    if gpus < max(1, wanted) and not may_grow:
        fewer = f"--num-workers {gpus}, or " if gpus else ""
        raise UserError(
            f"--use-gpu: {wanted or 1} workers need as many GPUs, and there are {gpus}: give {fewer}--no-use-gpu to "
            "label on CPUs"
        )


def label_frames(
    work: Work,
    plan: Plan,
    num_workers: int = 0,
    results: Results | None = None,
    use_gpu: bool | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Part number and row (MEDIA with `detections`) of every planned file, in any order. Ray must be running.

    `results` are the boxes of `work`, where these are a result file's.
    """
    DataContext.get_current().target_max_block_size = _block_bytes(work)
    workers = Workers.fit(ray.cluster_resources(), num_workers, work.on_gpu, use_gpu, inside_cluster())
    frames = ray.data.range(len(plan.sizes), override_num_blocks=len(plan.sizes)).map_batches(
        _read_parts(plan, work, ray.put(results)), batch_size=1, batch_format="pyarrow"
    )
    rows = map_on_pool(
        frames,
        _FinderActor,
        work,
        workers.num_threads,
        use_gpu is False,
        size=workers.num,
        num_threads=workers.num_threads,
        num_cpus=workers.num_cpus,
        num_gpus=workers.num_gpus,
        batch_size=workers.batch_size,
        batch_format="pyarrow",
    )
    try:
        batches = cast("Iterable[pa.Table]", rows.iter_batches(batch_size=None, batch_format="pyarrow"))
        for row in gathered(row for batch in batches for row in batch.to_pylist()):
            yield row.pop("part"), row
    except RayError as error:
        # Our own errors say in one line what the user can mend.
        raise origin(error) from error


def _block_bytes(work: Work) -> int:
    """A worker's thread takes a block at a time: of whole frames, which are small, a block is no more than a batch."""
    if isinstance(work.boxes, WholeFrames):
        return max(_LEAST_BLOCK_BYTES, _BATCH * 3 * work.encoder.tower.side**2)
    return _BLOCK_BYTES


class _FinderActor(Finder):
    """A Finder that uses no more threads than its machine has CPUs, and no GPU where it shall not."""

    def __init__(self, work: Work, num_threads: int, hides_gpus: bool) -> None:
        if hides_gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves it alone for who asks for none
        super().__init__(work, min(num_threads, os.cpu_count() or 1))


def _read_parts(
    plan: Plan, work: Work, results: "ray.ObjectRef[Results | None]"
) -> Callable[[pa.Table], Iterator[pa.Table]]:
    def read(indices: pa.Table) -> Iterator[pa.Table]:
        frames = frames_of(work, ray.get(results))  # from the machine's shared memory: they may be many
        for index in indices["id"].to_pylist():
            listed = ({"part": plan.first + index} | row for row in plan.part(index).to_pylist())
            for rows in _batches(chain.from_iterable(map(frames.rows, listed)), _BATCH):  # a video has many
                yield pa.Table.from_pylist(rows, READ)

    return read


def _batches(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    while some := list(islice(rows, size)):
        yield some


def frames_of(work: Work, results: Results | None = None) -> Frames:
    """The frames that a Finder takes. Whole ones are read as the encoder is fed: no more of them is decoded, and sent
    on, than that takes."""
    side = work.boxes.card.input_side if isinstance(work.boxes, DetectorFile) else 0
    tower = work.encoder.tower if isinstance(work.boxes, WholeFrames) else None
    return Frames(work.archive, side, work.reading, results, tower)


READ = pa.schema([pa.field("part", pa.int64()), *MEDIA, *FRAME])
"""One row a frame, or the reason why there is none, on its way to a Finder."""

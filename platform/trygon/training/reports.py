"""What a worker hands over to Ray: checkpoints, and the figures of its steps."""

import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import ray.train
from ray.util.metrics import Gauge

from trygon.storage import digest_texts
from trygon.training.checkpoint import Position, put_state, state_of
from trygon.training.filesystem import place_of
from trygon.training.learner import Learner
from trygon.training.settings import TrainSettings

_NOTED_S = 10.0
"""A checkpoint that is in its place is on Ray Train's list within seconds."""


class Reports:
    """The checkpoints of a worker, one after the other. All workers make the same calls."""

    def __init__(self, learner: Learner, rank: int) -> None:
        self._learner, self._rank = learner, rank
        self._idle = threading.Event()
        self._idle.set()
        if not rank:
            _remove_left_over(learner.settings)

    @property
    def is_idle(self) -> bool:
        """Whether no checkpoint is on its way to its place: only one state is held beside the one that learns."""
        return self._idle.is_set()

    def hand_over(self, position: Position, wait: bool) -> None:
        """Take a checkpoint, while none is on its way: the state is gathered now; while training goes on, it is
        written, digested, brought to its place and read back there."""
        metrics = {"leg": position.leg, "step": position.step}
        mode = ray.train.CheckpointUploadMode.SYNC if wait else ray.train.CheckpointUploadMode.ASYNC
        name = f"leg-{position.leg:06d}"
        state = state_of(self._learner, position)  # weights in shards are brought together by all
        if self._rank:
            ray.train.report(metrics, checkpoint_dir_name=name, checkpoint_upload_mode=mode)
            return
        self._idle.clear()
        scratch = _scratch(self._learner.settings, name)
        ray.train.report(
            metrics,
            ray.train.Checkpoint.from_directory(scratch),
            checkpoint_dir_name=name,
            checkpoint_upload_fn=lambda _, name: self._upload(name, state, scratch),
            checkpoint_upload_mode=mode,
            delete_local_checkpoint_after_upload=True,
            validation=self._measured(position.step, last=wait),
        )

    def _measured(self, step: int, last: bool) -> ray.train.ValidationTaskConfig | bool:
        """Whether a checkpoint is measured: where none waits for that, or is, which may take longer than training to
        the next one; the last one anyway."""
        if not self._learner.settings.validation_samples:
            return False
        noted = ray.train.CheckpointConsistencyMode.COMMITTED
        before = () if last else ray.train.get_all_reported_checkpoints(noted, _NOTED_S)
        if any(it.status == ray.train.ReportedCheckpointStatus.PENDING_VALIDATION for it in before):
            return False
        return ray.train.ValidationTaskConfig(fn_kwargs={"step": step})

    def _upload(self, name: str, state: dict[str, Any], scratch: Path) -> ray.train.Checkpoint:
        """Bring a state to its place: an older one is only removed for one that is whole."""
        storage: Any = ray.train.get_context().get_storage()
        path = storage.build_checkpoint_path_from_name(name)
        try:
            put_state(place_of(storage.storage_filesystem, path), state, scratch)
        finally:
            self._idle.set()
        return ray.train.Checkpoint(path, storage.storage_filesystem)


def _scratch(settings: TrainSettings, name: str) -> Path:
    """An empty folder of this machine for one checkpoint: Ray removes it some time after the upload has ended, when
    the next one may be on its way."""
    folder = Path(tempfile.gettempdir(), f"{_scratch_name(settings)}-{name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _remove_left_over(settings: TrainSettings) -> None:
    """What killed processes of the run left goes."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_scratch_name(settings)}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _scratch_name(settings: TrainSettings) -> str:
    return f"trygon-{digest_texts([settings.metrics])[:16]}"


class Gauges:
    """The latest figures on Ray's own Prometheus endpoint, as `ray_trygon_train_…`."""

    def __init__(self) -> None:
        self._gauges: dict[str, Gauge] = {}

    def show(self, figures: dict[str, float], of: str = "training step") -> None:
        """Those of a step."""
        for name, value in figures.items():
            if name not in self._gauges:
                self._gauges[name] = Gauge(f"trygon_train_{name}", f"{name} of the latest {of}")
            self._gauges[name].set(value)

    def show_measured(self, line: dict[str, Any]) -> None:
        """Those of a checkpoint on validation pictures, as `ray_trygon_train_val_…`."""
        figures = {f"val_{name.replace('/', '_')}": value for name, value in line.items() if name != "step"}
        self.show(figures | {"val_step": line["step"]}, "measured checkpoint")

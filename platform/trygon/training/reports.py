"""What a worker hands over to Ray: checkpoints, and the figures of its steps."""

import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import ray.train
from ray.util.metrics import Gauge

from trygon.errors import TrygonError
from trygon.storage import exists, read_bytes, write_text
from trygon.training.checkpoint import Position, is_whole, save_state, state_of
from trygon.training.learner import Learner
from trygon.training.settings import TrainSettings
from trygon.training.validation import VALIDATION_S, pending_of


class Reports:
    """The checkpoints of a worker, one after the other. All workers make the same calls."""

    def __init__(self, learner: Learner, rank: int) -> None:
        self._learner, self._rank = learner, rank
        self._idle = threading.Semaphore()
        """Only one state is held beside the one that learns: where its place is slow, training waits for it."""

    def hand_over(self, position: Position, wait: bool) -> None:
        """Take a checkpoint: the state is gathered now; while training goes on, it is written on this machine,
        digested, brought to its place and read back there."""
        metrics = {"leg": position.leg, "step": position.step}
        mode = ray.train.CheckpointUploadMode.SYNC if wait else ray.train.CheckpointUploadMode.ASYNC
        name = f"leg-{position.leg:06d}"
        if self._rank:
            state_of(self._learner, position)  # weights in shards are brought together by all
            ray.train.report(metrics, checkpoint_dir_name=name, checkpoint_upload_mode=mode)
            return
        self._idle.acquire()
        state = state_of(self._learner, position)
        folder = Path(tempfile.mkdtemp(prefix="trygon-"))
        ray.train.report(
            metrics,
            ray.train.Checkpoint.from_directory(folder),
            checkpoint_dir_name=name,
            checkpoint_upload_fn=lambda checkpoint, name: self._upload(checkpoint, name, state),
            checkpoint_upload_mode=mode,
            delete_local_checkpoint_after_upload=True,
            validation=validates(self._learner.settings, last=wait),
        )

    def _upload(self, checkpoint: ray.train.Checkpoint, name: str, state: dict[str, Any]) -> ray.train.Checkpoint:
        """Bring a state to its place and read it back: an older one is only removed for one that is whole."""
        try:
            save_state(Path(checkpoint.path), state)
            storage: Any = ray.train.get_context().get_storage()
            there = storage.persist_current_checkpoint(checkpoint, name)
            with there.as_directory() as folder:
                if not is_whole(folder):
                    raise TrygonError(f"the checkpoint {name} did not arrive whole")
            return there
        except BaseException:
            shutil.rmtree(checkpoint.path, ignore_errors=True)
            raise
        finally:
            self._idle.release()


def validates(settings: TrainSettings, last: bool) -> bool:
    """Whether a checkpoint is measured: where none waits for that, and the last one always. Measuring may take longer
    than training to the next checkpoint."""
    if not settings.validation_samples:
        return False
    pending = pending_of(settings.validation)
    if not last and exists(pending) and time.time() - float(read_bytes(pending)) < VALIDATION_S:
        return False
    write_text(pending, str(time.time()))
    return True


class Gauges:
    """The figures of the latest step on Ray's own Prometheus endpoint, as `ray_trygon_train_…`."""

    def __init__(self) -> None:
        self._gauges: dict[str, Gauge] = {}

    def show(self, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            if name not in self._gauges:
                self._gauges[name] = Gauge(f"trygon_train_{name}", f"{name} of the latest training step")
            self._gauges[name].set(value)

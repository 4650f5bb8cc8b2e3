"""Whether training goes on after a failure: Ray Train's controller asks, which runs beside the driver."""

import math
import time

from ray.train import FailureConfig
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, TrainingFailedError, WorkerGroupError

from trygon.errors import lasts
from trygon.training.checkpoint import BrokenError
from trygon.training.checkpoints import saved_step
from trygon.training.interruptions import Interruptions, cause_of, reason


class Endurance(DefaultFailurePolicy):
    """Goes on as long as that leads anywhere.

    What another try would meet again ends training at once. Other failures end it when `num_failures` of them were met
    since the last new checkpoint and one more comes, however many there were before. Workers that do not start are
    waited for, `patience_s` at most. A machine that its cluster takes back is no failure.
    """

    def __init__(self, place: str, interruptions: Interruptions, num_failures: int, patience_s: float) -> None:
        super().__init__(FailureConfig())
        self._place, self._interruptions = place, interruptions
        self._num_failures, self._patience_s = num_failures, patience_s
        self._failures, self._step = 0, -1
        self._waits_since = math.inf

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        """Ray Train's question."""
        error = training_failed_error
        if isinstance(error, ControllerError):
            return self._unstarted(error)
        self._waits_since = math.inf
        if isinstance(error, PreemptionError):
            self._interruptions.add(error.preemption_info.preempted_ranks, "the cluster takes machines back", True)
            return FailureDecision.RETRY
        assert isinstance(error, WorkerGroupError), error
        cause = cause_of(error.worker_failures)
        if isinstance(cause, BrokenError):  # the driver goes back to the checkpoint before, which is no end
            return FailureDecision.RAISE
        goes_on = not lasts(cause) and self._counted() <= self._num_failures
        self._interruptions.add(sorted(error.worker_failures), reason(error.worker_failures), goes_on)
        return FailureDecision.RETRY if goes_on else FailureDecision.RAISE

    def _counted(self) -> int:
        """Failures since the last checkpoint that was new, with this one."""
        step = saved_step(self._place)
        self._failures = 1 if step > self._step else self._failures + 1
        self._step = step
        return self._failures

    def _unstarted(self, error: ControllerError) -> FailureDecision:
        if not isinstance(error.controller_failure, WorkerGroupStartupFailedError | WorkerGroupStartupTimeoutError):
            return FailureDecision.RAISE
        now = time.monotonic()
        self._waits_since = min(self._waits_since, now)
        return FailureDecision.RETRY if now - self._waits_since < self._patience_s else FailureDecision.RAISE

"""Whether training goes on after a failure: Ray Train's controller asks, which runs beside the driver."""

import math
import time
from contextlib import suppress

from ray.train import FailureConfig
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, TrainingFailedError, WorkerGroupError

from trygon.errors import TrygonError, UnavailableError, is_permanent, origin
from trygon.training.checkpoints import BrokenError, saved_step
from trygon.training.interruptions import Interruptions, cause_of, reason


class Endurance(DefaultFailurePolicy):
    """Goes on as long as that leads anywhere.

    What another try would meet again ends training at once. Other failures end it when `num_failures` of them were met
    since the last new checkpoint and one more comes, however many there were before. Workers that do not start are
    waited for, `patience_s` at most, and so is a storage that does not answer: its failures count after that alone. A
    machine that its cluster takes back is no failure.
    """

    def __init__(self, place: str, interruptions: Interruptions, num_failures: int, patience_s: float) -> None:
        super().__init__(FailureConfig())
        self._place, self._interruptions = place, interruptions
        self._num_failures, self._patience_s = num_failures, patience_s
        self._failures, self._step = 0, -1
        self._waits_since = self._unstarted_at = self._away_since = self._away_at = -math.inf

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        """Ray Train's question."""
        error = training_failed_error
        if isinstance(error, ControllerError):
            return self._controller_failed(error.controller_failure)
        self._unstarted_at = -math.inf
        if isinstance(error, PreemptionError):
            self._interruptions.add(error.preemption_info.preempted_ranks, "the cluster takes machines back", True)
            return FailureDecision.RETRY
        assert isinstance(error, WorkerGroupError), error
        cause = cause_of(error.worker_failures)
        if isinstance(cause, BrokenError):  # the driver goes back to the checkpoint before, which is no end
            return FailureDecision.RAISE
        goes_on = not is_permanent(cause) and self._endured(cause)
        self._interruptions.add(sorted(error.worker_failures), reason(error.worker_failures), goes_on)
        return FailureDecision.RETRY if goes_on else FailureDecision.RAISE

    def _endured(self, cause: BaseException) -> bool:
        """Whether training goes on after a failure that may pass. With a storage that is away, three of them come
        within a minute."""
        if isinstance(cause, UnavailableError):
            now = time.monotonic()
            if now - self._away_at > self._patience_s:  # it did answer since
                self._away_since = now
            self._away_at = now
            if now - self._away_since < self._patience_s:
                return True
        return self._counted() <= self._num_failures

    def _counted(self) -> int:
        """Failures since the last checkpoint that was new, with this one."""
        step = self._step
        with suppress(OSError, TrygonError):  # S3 may be what failed
            step = saved_step(self._place)
        self._failures = 1 if step > self._step else self._failures + 1
        self._step = step
        return self._failures

    def _controller_failed(self, error: Exception) -> FailureDecision:
        if isinstance(error, WorkerGroupStartupFailedError | WorkerGroupStartupTimeoutError):
            return FailureDecision.RETRY if self._waited(error) else FailureDecision.RAISE
        cause = origin(error)
        if not isinstance(cause, TrygonError) or is_permanent(cause):
            return FailureDecision.RAISE
        # It keeps the list of checkpoints, and has met an S3 that does not answer.
        goes_on = self._endured(cause)
        self._interruptions.add([], str(cause), goes_on)
        return FailureDecision.RETRY if goes_on else FailureDecision.RAISE

    def _waited(self, error: Exception) -> bool:
        """Whether workers that do not start are waited for still."""
        now = time.monotonic()
        if now - self._unstarted_at > self._patience_s:  # they did start since
            self._waits_since = now
            said = str(origin(error)).partition(" Potential causes")[0].strip().partition("\n")[0]
            self._interruptions.add([], f"workers do not start, and are waited for ({said.rstrip('.')})", True)
        self._unstarted_at = now
        return now - self._waits_since < self._patience_s

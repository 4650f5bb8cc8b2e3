"""How many replicas the policy wants, and what it is told by them."""

import math
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from trygon.errors import UserError
from trygon.limits import Limits
from trygon_serving.admission import Admission
from trygon_serving.scaling import QUEUE, both_queues, encoders_wanted
from trygon_serving.triton_figures import TritonFigures, pending_in

TARGET = 8
FIGURES = """
# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution per-model.
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="image_encoder",version="1"} 5
nv_inference_pending_request_count{model="image_encoder-other",version="1"} 2
nv_inference_pending_request_count{model="text_encoder",version="1"} 9
"""

shares = st.floats(0, 4)


def _context(running: int, requests: float, queues: list[float] | None) -> AutoscalingContext:
    """What Serve tells a policy of so many replicas, of which the first ones report their queues."""
    deployment = DeploymentID("classifier", "trygon")
    replicas = [ReplicaID(str(number), deployment) for number in range(running)]
    reported: dict[str, Any] = {} if queues is None else {QUEUE: dict(zip(replicas, queues, strict=False))}
    return AutoscalingContext(
        deployment_id=deployment,
        deployment_name=deployment.name,
        app_name=deployment.app_name,
        current_num_replicas=running,
        target_num_replicas=running,
        running_replicas=replicas,
        total_num_requests=requests,
        total_queued_requests=0,
        aggregated_metrics=reported,
        raw_metrics={},
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=8,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=0,
        config=AutoscalingConfig(min_replicas=1, max_replicas=8, target_ongoing_requests=TARGET),
    )


@given(st.integers(1, 8), st.floats(0, 500), st.lists(shares, max_size=8))
def test_as_many_as_the_one_or_the_other_queue_wants(running: int, requests: float, queues: list[float]) -> None:
    wanted, _ = both_queues(_context(running, requests, queues))
    assert wanted == pytest.approx(max(requests / TARGET, encoders_wanted(queues[:running])))


@given(st.integers(1, 8), st.floats(0, 500))
def test_requests_count_alone_where_no_triton_says_anything(running: int, requests: float) -> None:
    for queues in (None, []):
        wanted, _ = both_queues(_context(running, requests, queues))
        assert wanted == pytest.approx(requests / TARGET)


@given(st.lists(shares, max_size=8), shares)
def test_no_longer_queue_wants_fewer(queues: list[float], more: float) -> None:
    assert 0 <= encoders_wanted(queues) <= encoders_wanted([*queues, more])


def test_as_many_stay_where_each_waits_for_an_eighth_and_more_come_where_one_waits_for_more() -> None:
    assert math.ceil(encoders_wanted([0.125] * 4)) == 4
    assert math.ceil(encoders_wanted([0.125, 0.125, 0.25])) == 4
    assert math.ceil(encoders_wanted([0, 0, 0.1])) == 1


def test_what_waits_is_a_share_of_what_may_be_in_work_in_pictures() -> None:
    admission = Admission(Limits())
    assert admission.share_of(16) == 16 / 64
    with ExitStack() as inside:
        for num_images in (16, 16, 1):
            inside.enter_context(admission.work(num_images))
        assert admission.share_of(2) == pytest.approx(2 * 11 / 64)
    assert admission.share_of(0) == 0


def test_an_address_of_no_metrics_is_an_error_of_one_line_at_the_start() -> None:
    with pytest.raises(UserError, match=r"^metrics of Triton http://127\.0\.0\.1:metrics: "):
        TritonFigures("http://127.0.0.1:metrics")


def test_only_image_encoders_count() -> None:
    assert pending_in(FIGURES) == 7


@pytest.mark.parametrize("text", ["", "# TYPE other gauge\nother 1\n", "<html>no metrics</html>"])
def test_what_is_no_tritons_is_no_queue_of_zero(text: str) -> None:
    with pytest.raises(ValueError, match=r"pending_request_count|invalid"):
        pending_in(text)

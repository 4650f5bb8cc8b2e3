"""How many replicas there are to be where each has a Triton of its own: a RayService's `autoscaling_config` names
`both_queues` as its policy.

Bounds and delays stay those of `autoscaling_config`: Serve applies them to what a policy wants. It carries this module
to its controller by value, so nothing of trygon is imported here.
"""

from collections.abc import Iterable
from typing import Any

from ray.serve.autoscaling_policy import replica_queue_length_autoscaling_policy
from ray.serve.config import AutoscalingContext

QUEUE = "encoder_queue"
"""What replicas report under this name: the pictures that wait in their Triton, as a share of those that they take at
once."""

_WANTED_QUEUE = 1 / 8
"""Of each replica: 8 pictures of 64, a quarter of Triton's largest batch. Even in a full replica no more than half
wait on average, and often a quarter: what waits is the next batch, and the rest is being encoded."""


def both_queues(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """As many replicas as the requests in work ask for (`target_ongoing_requests`), or as many as the queues of their
    Tritons do, whichever is more; and the state that Serve keeps between two calls."""
    by_requests, state = replica_queue_length_autoscaling_policy(context)
    queues = (context.aggregated_metrics or {}).get(QUEUE, {})
    return max(by_requests, encoders_wanted(queues.values())), state


def encoders_wanted(queues: Iterable[float]) -> float:
    """With how many encoders what waits, as shares of what one replica takes, would be as long as it should be."""
    return sum(queues) / _WANTED_QUEUE

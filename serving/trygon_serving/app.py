"""The online classifier as one Ray Serve deployment. Triton batches, Serve does not."""

from typing import Any

from ray import serve
from ray.serve._private import replica
from ray.serve.config import AutoscalingConfig, BackpressureConfig

from trygon.errors import UserError
from trygon.limits import Limits
from trygon_serving.api import make_api
from trygon_serving.args import AppArgs
from trygon_serving.journal import set_up
from trygon_serving.scaling import QUEUE
from trygon_serving.service import Service

_MOST_IN_WORK = 256
_WANTED_IN_WORK = 16
"""Requests of a replica, on average, where their number follows the load: half of Triton's largest batch."""


@serve.deployment(
    name="classifier",
    # The service itself says when it has enough, in the form of all other problems: Serve's queue is the last resort.
    max_ongoing_requests=_MOST_IN_WORK,
    max_queued_requests=_MOST_IN_WORK,
    backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1),
    graceful_shutdown_wait_loop_s=0.5,
    # A replica that goes gets no more requests, and ends those that it has.
    graceful_shutdown_timeout_s=Limits().longest_s,
)
@serve.ingress()
class ClassifierApp:
    """Answers requests with the label sets of its arguments and the model behind one Triton."""

    def __init__(self, args: AppArgs) -> None:
        _open_no_other_door()
        set_up(args.log)
        self.service = Service(args, serve.get_replica_context().replica_id.unique_id)

    def __serve_build_asgi_app__(self) -> Any:
        return make_api(self.service)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve tells its policy of this replica."""
        queue = await self.service.encoder_queue()
        return {} if queue is None else {QUEUE: queue}


def _open_no_other_door() -> None:
    """Keep the replica from listening for the gRPC of other deployments, of which there are none: Serve does so on all
    networks, and unpickles what is sent there."""
    replica.add_port_to_grpc_server = lambda server, address: 0  # pyright: ignore[reportPrivateImportUsage]


def build(args: AppArgs) -> serve.Application:
    """The application, for a RayService's `import_path: trygon_serving.app:build`. `UserError` without keys: whole
    networks reach its proxies."""
    args = AppArgs.model_validate(args)
    if not args.keys:
        raise UserError("args say nothing of keys, and anyone could ask: make some with trygon keys FILE --add NAME")
    return _within(args.limits).bind(args)


def build_scaled(args: AppArgs, least: int, most: int, up_s: float, down_s: float) -> serve.Application:
    """The application with as many replicas, or as many as requests in work ask for. (A RayService says it itself.)
    Another number has to be asked for during some seconds, until it is more replicas or fewer."""
    deployment = _within(args.limits)
    if least == most:
        return deployment.options(num_replicas=least).bind(args)
    # Serve's own policy: all of these replicas share one Triton, and its queue would get no shorter.
    scaling = AutoscalingConfig(
        min_replicas=least,
        max_replicas=most,
        target_ongoing_requests=_WANTED_IN_WORK,
        upscale_delay_s=up_s,
        downscale_delay_s=down_s,
    )
    return deployment.options(autoscaling_config=scaling).bind(args)


def _within(limits: Limits) -> serve.Deployment:
    """The deployment, whose replicas have room for all that may wait, and end their requests however long these may
    take."""
    most = max(_MOST_IN_WORK, limits.waiting_images)
    return ClassifierApp.options(max_ongoing_requests=most, graceful_shutdown_timeout_s=limits.longest_s)

"""The online classifier as one Ray Serve deployment. Triton batches, Serve does not."""

from typing import Any

from ray import serve
from ray.serve.config import BackpressureConfig

from trygon_serving.api import make_api
from trygon_serving.journal import set_up
from trygon_serving.service import AppArgs, Service


@serve.deployment(
    name="classifier",
    # The service itself says when it has enough, in the form of all other problems: Serve's queue is the last resort.
    max_ongoing_requests=256,
    max_queued_requests=256,
    backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1),
    graceful_shutdown_wait_loop_s=0.5,
    graceful_shutdown_timeout_s=5,
)
@serve.ingress()
class ClassifierApp:
    """Answers requests with the label sets of its arguments and the model behind one Triton."""

    def __init__(self, args: AppArgs) -> None:
        set_up(args.log)
        self.service = Service(args)

    def __serve_build_asgi_app__(self) -> Any:
        return make_api(self.service)


def build(args: AppArgs) -> serve.Application:
    """The application, for `serve.run` and for a RayService's `import_path: trygon_serving.app:build`."""
    return ClassifierApp.bind(AppArgs.model_validate(args))

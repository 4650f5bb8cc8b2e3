"""Runs everything that one machine needs to answer: Triton, Ray Serve and the application."""

import logging
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import ray
from ray import serve
from rich.console import Console

from trygon.cluster.local import inside_cluster, require_local_ray, start_ray
from trygon.errors import UserError, origin
from trygon.storage import absolute
from trygon_serving import front
from trygon_serving.app import build_scaled
from trygon_serving.args import AppArgs
from trygon_serving.catalogue import Catalogue, Weights, leading, located
from trygon_serving.embedded import Embedded
from trygon_serving.readiness import wait_ready
from trygon_serving.settings import Settings, is_loopback, own_hosts
from trygon_serving.stop import interrupt_on_signals

APP = "trygon"
_LOOK_S = 1.0


def run(settings: Settings, catalogue: Catalogue) -> None:
    """Start what `check` found, say where to ask, wait for Ctrl-C or SIGTERM, and stop what was started. `TrygonError`
    where Ray has ended, or Triton is not looked after any more: whatever runs this can start all of it again."""
    _require_no_cluster()
    console = Console(stderr=True, highlight=False)
    with ExitStack() as stack:
        with console.status("starting Triton and Ray Serve"):
            embedded = None
            if settings.triton is None:
                # The slowest part goes first: it loads the model while Ray starts.
                embedded = stack.enter_context(_embedded(catalogue))
            arguments = _arguments(settings, catalogue, embedded)
            stack.enter_context(_serving(settings, arguments))
            if embedded:
                embedded.wait_ready()
            wait_ready(_url(settings), arguments.triton, console.print, lambda: _require_living(embedded))
        _announce(settings)
        while True:
            _require_living(embedded)
            time.sleep(_LOOK_S)


def _require_living(embedded: Embedded | None) -> None:
    """`TrygonError` where a process has ended that nobody starts again."""
    require_local_ray()
    if embedded:
        embedded.require_guard()


def _require_no_cluster() -> None:
    """`UserError` in a cluster: the proxies of its other nodes would run without the limits of this process's
    environment, and their replicas would not reach the Triton here."""
    if inside_cluster():
        raise UserError(
            "trygon serve answers from one machine, and RAY_ADDRESS, or the job that this is, names a cluster: run it "
            "outside of that, or serve trygon_serving.app:build there, as infra/k8s/rayservice.yaml does"
        )


def _embedded(catalogue: Catalogue) -> Embedded:
    # Without the other versions requests are answered; they are loaded beside that.
    first = [versions[leading(versions)] for versions in catalogue.values()]
    return Embedded.start(*(Weights.of(spec.model, spec.encoder) for spec in first))


@contextmanager
def _serving(settings: Settings, arguments: AppArgs) -> Iterator[None]:
    """The application on Ray Serve, on a Ray of its own."""
    os.environ.setdefault(front.VARIABLE, front.CALLBACK)
    os.environ.setdefault(*front.LOOKED_AFTER)
    os.environ.setdefault(front.MOST, str(settings.replicas[1] * settings.limits.waiting_images))
    held = {"held_bytes": settings.replicas[1] * settings.limits.held_bytes}
    os.environ[front.LIMITS] = settings.limits.model_copy(update=held).model_dump_json()
    os.environ[front.KEYS] = arguments.keys
    start_ray()
    interrupt_on_signals()
    try:
        _require_cpus(settings.replicas[1])
        quiet = {"log_level": "WARNING", "enable_access_log": False}
        with _silenced("ray.serve"), _port_named(settings):
            serve.start(
                proxy_location="HeadOnly",
                http_options={
                    "host": settings.host,
                    "port": settings.port,
                    # The application's own limits say it better.
                    "request_timeout_s": settings.limits.longest_s + 5,
                    "ssl_certfile": settings.tls_certificate,
                    "ssl_keyfile": settings.tls_key,
                },
                logging_config=quiet,
            )
            app = build_scaled(arguments, *settings.replicas, settings.scale_up_s, settings.scale_down_s)
            serve.run(app, name=APP, route_prefix="/", logging_config=quiet)
        yield
    finally:
        # Ray ends as a whole, at once: Serve's orderly shutdown waits half a minute for a controller that the same
        # signal may have ended already.
        ray.shutdown()


def _require_cpus(num_replicas: int) -> None:
    """`UserError` for more replicas than our Ray starts: Serve would wait for the others for ever."""
    num_cpus = int(ray.cluster_resources().get("CPU", 1))
    if num_replicas > num_cpus:
        raise UserError(f"--replicas {num_replicas}: Ray gives each a CPU, and there are {num_cpus} here")


def _arguments(settings: Settings, catalogue: Catalogue, embedded: Embedded | None) -> AppArgs:
    """With places as processes in other folders name them."""
    checklists, runs, galleries = (
        {name: absolute(place) for name, place in places.items()}
        for places in (settings.checklists, settings.runs, settings.galleries)
    )
    models, keys, log = (
        str(Path(place).absolute()) if place else "" for place in (settings.models, settings.keys, settings.log)
    )
    return AppArgs(
        models=models or located(catalogue),
        triton=embedded.grpc if embedded else str(settings.triton),
        shared_metrics=embedded.metrics if embedded else "",
        repository=str(embedded.repository) if embedded else "",
        checklists=checklists,
        runs=runs,
        galleries=galleries,
        keys=keys,
        hosts=own_hosts(settings),
        log=log,
        traces=settings.traces or "",
        limits=settings.limits,
    )


@contextmanager
def _port_named(settings: Settings) -> Iterator[None]:
    """`UserError` where another program took the port after it was checked: Serve binds it seconds later."""
    try:
        yield
    except Exception as error:
        if "Failed to bind to address" not in str(origin(error)):
            raise
        where = f"{settings.host}:{settings.port}"
        raise UserError(f"cannot listen on {where}: it was taken meanwhile; choose another with --port") from error


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _url(settings: Settings) -> str:
    """Where programs of this machine ask."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _announce(settings: Settings) -> None:
    url = _url(settings)
    key = "-H 'Authorization: Bearer KEY' " if settings.keys else ""
    curl = f"curl {key}-F image=@photo.jpg {shlex.quote(f'{url}/v1/classify')}"
    lines = [f"ready: {url}/ in a browser, or", f"  {curl}"]
    if settings.keys and not settings.tls_certificate and not is_loopback(settings.host):
        lines.append("keys and pictures travel in the clear: give --tls-certificate and --tls-key, or let this one")
        lines.append("  listen on loopback behind a proxy with TLS")
    print("\n".join(lines), flush=True)

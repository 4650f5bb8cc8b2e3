"""Runs everything that one machine needs to answer: Triton, Ray Serve and the application."""

import logging
import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import ray
from ray import serve
from rich.console import Console

from trygon.cluster.local import inside_cluster, start_ray
from trygon.errors import UserError, origin
from trygon.storage import absolute
from trygon_serving import front
from trygon_serving.app import build
from trygon_serving.embedded import Embedded
from trygon_serving.service import AppArgs
from trygon_serving.settings import Settings, is_loopback
from trygon_serving.stop import interrupt_on_signals

APP = "trygon"


def run(settings: Settings) -> None:
    """Start, say where to ask, and wait for Ctrl-C or SIGTERM; then stop everything that was started."""
    console = Console(stderr=True, highlight=False)
    with ExitStack() as stack:
        with console.status("starting Triton and Ray Serve"):
            embedded = None
            if settings.triton is None:
                # The slowest part goes first: it loads the model while Ray starts.
                embedded = stack.enter_context(_embedded(settings.model))
            stack.enter_context(_serving(settings, embedded.grpc if embedded else str(settings.triton)))
            if embedded:
                embedded.wait_ready()
        _announce(settings, embedded)
        while True:
            signal.pause()


@contextmanager
def _embedded(model: str) -> Iterator[Embedded]:
    server = Embedded.start(model)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def _serving(settings: Settings, triton: str) -> Iterator[None]:
    """The application on Ray Serve: on a Ray of its own, or on the cluster that this process belongs to."""
    os.environ.setdefault(front.VARIABLE, front.CALLBACK)
    start_ray()
    interrupt_on_signals()
    own = not inside_cluster()
    try:
        quiet = {"log_level": "WARNING", "enable_access_log": False}
        with _silenced("ray.serve"), _port_named(settings):
            serve.start(
                proxy_location="HeadOnly",
                http_options={
                    "host": settings.host,
                    "port": settings.port,
                    "request_timeout_s": 30,
                    "ssl_certfile": settings.tls_certificate,
                    "ssl_keyfile": settings.tls_key,
                },
                logging_config=quiet,
            )
            serve.run(build(_arguments(settings, triton)), name=APP, route_prefix="/", logging_config=quiet)
        yield
    finally:
        if not own:
            serve.delete(APP)
        # A Ray of our own ends as a whole, at once: Serve's orderly shutdown waits half a minute for a controller that
        # the same signal may have ended already.
        ray.shutdown()


def _arguments(settings: Settings, triton: str) -> AppArgs:
    labels, checklists, runs = (
        {name: absolute(place) for name, place in places.items()}
        for places in (settings.labels, settings.checklists, settings.runs)
    )
    keys, log = (str(Path(place).absolute()) if place else "" for place in (settings.keys, settings.log))
    return AppArgs(
        labels=labels, triton=triton, model=settings.model, checklists=checklists, runs=runs, keys=keys, log=log
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


def _announce(settings: Settings, embedded: Embedded | None) -> None:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    scheme = "https" if settings.tls_certificate else "http"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"
    key = "-H 'Authorization: Bearer KEY' " if settings.keys else ""
    curl = f"curl {key}-F image=@photo.jpg {shlex.quote(f'{url}/v1/classify')}"
    lines = [f"ready: {url}/ in a browser, or", f"  {curl}"]
    if settings.keys and not settings.tls_certificate and not is_loopback(settings.host):
        lines.append("keys and pictures travel in the clear: give --tls-certificate and --tls-key, or let this one")
        lines.append("  listen on loopback behind a proxy with TLS")
    if embedded:
        lines.append(f"metrics of Triton: {embedded.metrics}")
    print("\n".join(lines), flush=True)

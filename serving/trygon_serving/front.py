"""What stands before Ray Serve's own HTTP proxy: its answers in the form of all others, and one name a request.

Where more requests are in work than the replicas take, it refuses further ones at once. A replica would too, but costs
Serve's proxy and itself some eight milliseconds a request by then, of those that it answers the others with. A slow
model takes fewer, as many as only the replica knows: after one that it refused, the others are until one is answered.

Serve answers by itself where no replica can: its queue is full, the replica took too long, or there is none yet. It
does so in plain text, and where a replica dies with a request it says nothing at all. It also adds the header with the
request's name beside ours.

It reads a body as fast as it comes and keeps all of it, whether a replica reads it or not, and takes orders from
headers of anyone: both before a key is asked for. So bodies have their limit here too, and such headers are left out.
"""

import logging
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, generate_latest
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trygon.limits import Limits
from trygon_serving.gate import REQUEST_ID, header, name_of_request, send_problem
from trygon_serving.heads import limit_heads
from trygon_serving.journal import LOGGER
from trygon_serving.problem import FULL, Problem, too_large

VARIABLE, CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "trygon_serving.front.middlewares"
"""The environment variable by which Serve's proxy finds `middlewares`."""

LOOKED_AFTER = "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S", "1"
"""The environment variable for how often Serve looks whether its proxy lives, in seconds. It starts another one after
three times that it does not: with Serve's own ten seconds nobody would listen for half a minute."""

MOST = "TRYGON_MOST_IN_WORK"
"""The environment variable that says how many requests may be in work, of all replicas; without it, any number."""

LIMITS = "TRYGON_LIMITS"
"""The environment variable with the limits of heads and bodies, as JSON of `Limits`; without it, they are the default
ones."""

_RETRY_AFTER_S = 1

_ORDERS = (
    b"x-request-timeout-seconds",
    b"x-request-disconnect-disabled",
    b"serve-multiplexed-model-id",
    b"x-session-id",
)
"""Headers by which Serve lets a client say how long a request may take, and where it goes."""

log = logging.getLogger(LOGGER)


class Front:
    """ASGI middleware around the proxy. What it refuses itself is counted in `/metrics`."""

    def __init__(self, app: ASGIApp, most: int | None = None, limits: Limits | None = None) -> None:
        self._app, self._most, self._limits = app, most, limits or Limits()
        self._in_work = 0
        """Requests with a body that has arrived whole: slow clients keep nobody out."""
        self._is_full = False
        """A replica refused a request, and none has been answered since."""
        self._registry = CollectorRegistry()
        refused = Counter("trygon_refused", "Requests that reached no replica", ["proxy"], registry=self._registry)
        self._refused = refused.labels(socket.gethostname())  # each node has one, and each scrape sees one of them

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["headers"] = _without_orders(scope["headers"])
        declared = header(scope, b"content-length")
        if declared.isdigit() and int(declared) > self._limits.body_bytes:
            await self._refuse(too_large(self._limits), scope, send)
        elif scope["method"] == "POST" and self._most is not None:
            if self._is_full or self._in_work >= self._most:
                await self._refuse(_problem(503), scope, send)
                return
            with self._counted(receive) as receive:
                await self._answer(scope, receive, send)
        elif scope["path"] == "/metrics":
            await self._answer(scope, receive, self._with_own_figures(send))
        else:
            await self._answer(scope, receive, send)

    async def _refuse(self, problem: Problem, scope: Scope, send: Send) -> None:
        """Answer what no replica is asked."""
        self._refused.inc()
        await send_problem(problem, send, [(REQUEST_ID.encode(), name_of_request(scope).encode())])

    @contextmanager
    def _counted(self, receive: Receive) -> Iterator[Receive]:
        """Count a request from the end of its body on."""
        arrived = False

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body") and not arrived:
                arrived = True
                self._in_work += 1
            return message

        try:
            yield counted
        finally:
            self._in_work -= arrived
            self._is_full &= self._in_work > 0

    def figures(self) -> bytes:
        """What Prometheus is told beside the replica's figures."""
        return generate_latest(self._registry)

    def _with_own_figures(self, send: Send) -> Send:
        """Add to the replica's figures what it cannot know."""
        own = b""

        async def pass_on(message: Message) -> None:
            nonlocal own
            if message["type"] == "http.response.start" and message["status"] == 200:
                own = self.figures()
                message["headers"] = [it for it in message["headers"] if it[0].lower() != b"content-length"]
            elif message["type"] == "http.response.body" and not message.get("more_body"):
                message["body"] = message.get("body", b"") + own
            await send(message)

        return pass_on

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = replaced = False
        size = 0

        async def replace(problem: Problem, headers: list[tuple[bytes, bytes]]) -> None:
            nonlocal started, replaced
            started = replaced = True
            await send_problem(problem, send, _names(headers))

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size <= self._limits.body_bytes:
                return message
            if not started:
                await replace(too_large(self._limits), scope["headers"])
            return {"type": "http.disconnect"}

        async def pass_on(message: Message) -> None:
            nonlocal started
            if replaced:
                return
            if message["type"] == "http.response.start":
                started = True
                self._note(scope, message)
                message["headers"] = list(_once(message["headers"]))
                if _is_serves_own(message):
                    await replace(_problem(message["status"]), message["headers"])
                    return
            await send(message)

        try:
            await self._app(scope, limited, pass_on)
        except Exception:
            if started and not replaced:
                raise  # the connection is closed: half an answer must not look like a whole one
            log.exception("Serve's proxy failed")
            if not started:
                await replace(Problem(500, "The server failed"), scope["headers"])
        if not started:
            self._is_full = False
            await replace(_problem(500), scope["headers"])

    def _note(self, scope: Scope, message: Message) -> None:
        """What the head of an answer says of the room that there is."""
        others = [header for header in message["headers"] if header[0].lower() != FULL.encode()]
        if len(others) < len(message["headers"]):
            message["headers"], self._is_full = others, True
        elif scope["method"] == "POST" and not 400 <= message["status"] < 500:
            self._is_full = False


def middlewares() -> list[Middleware]:
    """What Serve's proxy puts around itself, as it is about to listen: in what it listens with, heads get limits."""
    limits = Limits.model_validate_json(os.environ.get(LIMITS, "{}"))
    limit_heads(limits)
    most = os.environ.get(MOST)
    return [Middleware(Front, most=int(most) if most else None, limits=limits)]


def _without_orders(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Without those that Serve obeys, and those that it fails with, which are not UTF-8."""
    return [it for it in headers if it[0].lower().replace(b"_", b"-") not in _ORDERS and _is_text(it[1])]


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _once(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The request's name once: the application's own, where it gave one."""
    name = REQUEST_ID.encode()
    known = [place for place, (key, _) in enumerate(headers) if key.lower() == name]
    return [header for place, header in enumerate(headers) if place not in known[1:]]


def _is_serves_own(message: Message) -> bool:
    """The application says what goes wrong as a problem, never in plain text."""
    plain = any(
        key.lower() == b"content-type" and value.startswith(b"text/plain") for key, value in message["headers"]
    )
    return plain and message["status"] >= 400


def _names(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The request's name, which Serve has put into the request by now."""
    return [header for header in headers if header[0].lower() == REQUEST_ID.encode()]


def _problem(status: int) -> Problem:
    if status == 408:
        return Problem(504, "No answer in time", retry_after_s=_RETRY_AFTER_S)
    # A replica that ended, or is not there yet: to ask again is safe, as no request changes anything.
    title = "Too many requests wait" if status == 503 else "The server is not ready"
    return Problem(503, title, "come again in a moment", retry_after_s=_RETRY_AFTER_S)

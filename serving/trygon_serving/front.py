"""What stands before Ray Serve's own HTTP proxy: limits, and its answers in the form of all others.

The proxy takes orders from headers of anyone, before a key is asked for: these are left out.
"""

import os
from collections.abc import Iterable

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from trygon.limits import Limits
from trygon_serving.body_limit import BodyLimit
from trygon_serving.heads import limit_heads
from trygon_serving.refusals import OwnFigures, Refusals
from trygon_serving.room import Room
from trygon_serving.serve_answers import ServeAnswers

VARIABLE, CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "trygon_serving.front.middlewares"
"""The environment variable by which Serve's proxy finds `middlewares`."""

LOOKED_AFTER = "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S", "1"
"""The environment variable for how often Serve looks whether its proxy lives, in seconds. It starts another one after
three times that it does not: with Serve's own ten seconds nobody would listen for half a minute."""

MOST = "TRYGON_MOST_IN_WORK"
"""The environment variable that says how many requests may be in work, of all replicas; without it, any number."""

LIMITS = "TRYGON_LIMITS"
"""The environment variable with the limits of heads and bodies, as JSON of `Limits`; without it, they are the default
ones. `held_bytes` are those that this proxy holds, for all replicas."""

_ORDERS = (
    b"x-request-timeout-seconds",
    b"x-request-disconnect-disabled",
    b"serve-multiplexed-model-id",
    b"x-session-id",
)
"""Headers by which Serve lets a client say how long a request may take, and where it goes."""


class Front:
    """ASGI middleware around the proxy, which is several, one behind the other."""

    def __init__(self, app: ASGIApp, most: int | None = None, limits: Limits | None = None) -> None:
        refusals = Refusals()
        self._proxy = app
        answered = ServeAnswers(Room(app, most, refusals))
        self._first = OwnFigures(BodyLimit(answered, limits or Limits(), refusals), refusals)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._proxy(scope, receive, send)
            return
        scope["headers"] = _without_orders(scope["headers"])
        await self._first(scope, receive, send)


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

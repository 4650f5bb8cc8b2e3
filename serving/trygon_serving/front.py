"""What stands before Ray Serve's own HTTP proxy: keys, limits, and its answers in the form of all others.

The proxy takes orders from headers of anyone, also where no key is needed: these are left out.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from trygon.limits import Limits
from trygon_serving.body_limit import BodyLimit
from trygon_serving.gate import OPEN_PATHS, authorization
from trygon_serving.heads import limit_heads
from trygon_serving.keys import Keys
from trygon_serving.problem import Problem
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

KEYS = "TRYGON_KEYS"
"""The environment variable with the path of the API keys: who has none is refused here, as the way to the replica
costs some eight milliseconds. The replica asks again, and counts; without the variable it alone asks."""

_OPEN_PATHS = OPEN_PATHS | {"/-/healthz"}
"""What Serve says of its proxy is asked by the probes of KubeRay, which have no key."""

_ORDERS = (
    b"x-request-timeout-seconds",
    b"x-request-disconnect-disabled",
    b"serve-multiplexed-model-id",
    b"x-session-id",
)
"""Headers by which Serve lets a client say how long a request may take, and where it goes."""


class Front:
    """ASGI middleware around the proxy, which is several, one behind the other."""

    def __init__(
        self, app: ASGIApp, most: int | None = None, limits: Limits | None = None, keys: Keys | None = None
    ) -> None:
        self._proxy, self._keys, self._refusals = app, keys, Refusals()
        answered = ServeAnswers(Room(app, most, self._refusals))
        self._first = OwnFigures(BodyLimit(answered, limits or Limits(), self._refusals), self._refusals)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._proxy(scope, receive, send)
            return
        scope["headers"] = _without_orders(scope["headers"])
        try:
            if self._keys and scope["path"] not in _OPEN_PATHS:
                self._keys.identify(authorization(scope))
        except Problem as problem:
            await self._refusals.refuse(problem, scope, send)
            return
        await self._first(scope, receive, send)


def middlewares() -> list[Middleware]:
    """What Serve's proxy puts around itself, as it is about to listen: in what it listens with, heads get limits."""
    limits = Limits.model_validate_json(os.environ.get(LIMITS, "{}"))
    limit_heads(limits)
    most, keys = os.environ.get(MOST), os.environ.get(KEYS)
    return [
        Middleware(Front, most=int(most) if most else None, limits=limits, keys=Keys(Path(keys)) if keys else None)
    ]


def _without_orders(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Without those that Serve obeys, and those that it fails with, which are not UTF-8."""
    return [it for it in headers if it[0].lower().replace(b"_", b"-") not in _ORDERS and _is_text(it[1])]


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True

"""What every request passes before it is answered: a name, a limit on its headers, the name by which it calls the
server, a key, one form of what goes wrong.

What passed is counted and logged.
"""

import logging
import re
import time
import uuid
from collections.abc import Collection

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trygon.limits import Limits
from trygon_serving.journal import LOGGER
from trygon_serving.keys import Keys
from trygon_serving.metrics import Metrics
from trygon_serving.problem import GONE, PROBLEM_TYPE, Problem
from trygon_serving.traces import Traces

REQUEST_ID = "x-request-id"
OPEN_PATHS = frozenset(("/", "/docs", "/healthz", "/readyz", "/openapi.json"))
"""What needs no key: the page, which asks for one, and what says nothing but that the server is there."""

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_PORT = re.compile(r":[0-9]*$")

log = logging.getLogger(LOGGER)


class Gate:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        keys: Keys | None,
        metrics: Metrics,
        traces: Traces | None = None,
        hosts: Collection[str] = (),
    ) -> None:
        """`hosts` are the names by which the server may be called; without any, by all."""
        self._app, self._hosts = app, hosts
        self._limits, self._keys, self._metrics, self._traces = limits, keys, metrics, traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        passage = Passage(scope, send)
        if self._traces is None:
            await self._answer(scope, receive, passage)
            return
        with self._traces.request(scope, passage.id) as span:
            try:
                await self._answer(scope, receive, passage)
            finally:
                self._traces.ended(span, scope["method"], _path(scope), passage.status or GONE)

    async def _answer(self, scope: Scope, receive: Receive, passage: "Passage") -> None:
        try:
            self._check(scope, passage)
            await self._app(scope, receive, passage.send)
        except Problem as problem:
            await send_problem(problem, passage.send)
        except ClientDisconnect:
            pass  # it went while its body was on its way: nobody is there to be told, and nothing failed
        except Exception:
            log.exception("request failed", extra={"fields": {"request": passage.id}})
            if passage.status is None:
                await send_problem(Problem(500, "The server failed", f"request {passage.id}"), passage.send)
        finally:
            self._record(scope, passage)

    def _check(self, scope: Scope, passage: "Passage") -> None:
        size = len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"])
        size += sum(len(name) + len(value) for name, value in scope["headers"])
        if size > self._limits.header_bytes:
            raise Problem(431, "The headers are too large", f"at most {self._limits.header_bytes} bytes")
        if self._hosts:
            self._require_own_page(scope)
        if self._keys and scope["path"] not in OPEN_PATHS:
            key = self._keys.identify(authorization(scope))
            self._keys.use(key)
            passage.key = key.id

    def _require_own_page(self, scope: Scope) -> None:
        """`Problem` for a page of another site, which reaches this machine's servers from its browser: by an address
        of its own that means this machine, or straight."""
        host, origin = (header(scope, name).decode("latin-1").lower() for name in (b"host", b"origin"))
        if _PORT.sub("", host) not in self._hosts:
            names = ", ".join(self._hosts)
            raise Problem(421, "The server has another name", f"it answers as {names}; with --keys, as any")
        if origin and origin.partition("://")[2] != host:
            raise Problem(403, "Pages of other sites may not ask", "the server's own page may, and programs")

    def _record(self, scope: Scope, passage: "Passage") -> None:
        seconds = time.perf_counter() - passage.start_s
        path = _path(scope)
        self._metrics.asked(path, passage.status or GONE, seconds)
        fields = {
            "request": passage.id,
            "key": passage.key,
            "method": scope["method"],
            "path": path,
            "status": passage.status,
            "ms": round(1000 * seconds, 1),
            "bytes": header(scope, b"content-length").decode("latin-1")[:20],
        }
        log.info("request", extra={"fields": fields})


def _path(scope: Scope) -> str:
    """Only paths that exist: what else is asked for must not become a figure of its own."""
    return getattr(scope.get("route"), "path", "other")


class Passage:
    """One request on its way: its name, whose key it came with, and the status of its answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.id = name_of_request(scope)
        self.key: str | None = None
        self.status: int | None = None
        self.start_s = time.perf_counter()
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass on a part of the answer; its head gets the request's name."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], named(self.id)]
        await self._send(message)


def name_of_request(scope: Scope) -> str:
    """The name that the client gave a request, or a new one."""
    given = header(scope, REQUEST_ID.encode())
    return given.decode() if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


def header(scope: Scope, wanted: bytes) -> bytes:
    """The first header of a name; blank where there is none."""
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def authorization(scope: Scope) -> str:
    """The header that a key comes in; blank where there is none."""
    return header(scope, b"authorization").decode("latin-1")


def declared_bytes(scope: Scope) -> int:
    """How large a body is said to be; 0 where nothing is said."""
    said = header(scope, b"content-length")
    return int(said) if said.isdigit() else 0


def named(name: str) -> tuple[bytes, bytes]:
    """The header of an answer with the request's name."""
    return REQUEST_ID.encode(), name.encode()


async def send_problem(problem: Problem, send: Send, name: str | None = None) -> None:
    """A problem as a whole response, with the request's name unless `send` puts it there."""
    headers = {"content-type": PROBLEM_TYPE, "content-length": str(len(problem.body))} | problem.headers
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    raw += [named(name)] if name else []
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": problem.body})

"""What every request passes before it is answered: a name, a limit on its headers, one form for what goes wrong."""

import logging
import re
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trygon_serving.limits import Limits
from trygon_serving.problem import PROBLEM_TYPE, Problem

REQUEST_ID = "x-request-id"
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

log = logging.getLogger("trygon.serving")


class Gate:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _id_of(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (REQUEST_ID.encode(), request_id.encode())]
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, send_named)
        except Problem as problem:
            await send_problem(problem, send_named)
        except Exception:
            log.exception("request %s failed", request_id)
            if not started:
                await send_problem(Problem(500, "The server failed", f"request {request_id}"), send_named)

    def _check(self, scope: Scope) -> None:
        size = len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"])
        size += sum(len(name) + len(value) for name, value in scope["headers"])
        if size > self._limits.header_bytes:
            raise Problem(431, "The headers are too large", f"at most {self._limits.header_bytes} bytes")


async def send_problem(problem: Problem, send: Send) -> None:
    """A problem as a whole response."""
    headers = {"content-type": PROBLEM_TYPE, "content-length": str(len(problem.body))} | problem.headers
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": problem.body})


def _id_of(scope: Scope) -> str:
    """The client's own name for the request where it gives a sane one, else a new one."""
    given = next((value for name, value in scope["headers"] if name == REQUEST_ID.encode()), b"")
    return given.decode() if _SANE_ID.fullmatch(given) else uuid.uuid4().hex

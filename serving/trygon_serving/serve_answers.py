"""What Serve's proxy answers by itself, in the form of all other answers, and one name a request.

Serve does so where no replica can: its queue is full, the replica took too long, or there is none yet. It speaks in
plain text, and where a replica dies with a request it says nothing at all. It also adds the header with the request's
name beside ours.
"""

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trygon_serving.gate import REQUEST_ID, name_of_request, send_problem
from trygon_serving.journal import LOGGER
from trygon_serving.problem import Problem

_RETRY_AFTER_S = 1

log = logging.getLogger(LOGGER)


class ServeAnswers:
    """ASGI middleware that puts problems in the place of what Serve says by itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer = _Answer(scope, send)
        try:
            await self._app(scope, receive, answer.pass_on)
        except Exception:
            if answer.is_started and not answer.is_replaced:
                raise  # the connection is closed: half an answer must not look like a whole one
            log.exception("Serve's proxy failed")
            if not answer.is_started:
                await answer.replace(Problem(500, "The server failed"))
        if not answer.is_started:
            await answer.replace(_problem(500))


class _Answer:
    """The answer to one request, as far as it has come."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self.is_started = self.is_replaced = False

    async def replace(self, problem: Problem) -> None:
        """Say this, and nothing of what may follow."""
        self.is_started = self.is_replaced = True
        # Which Serve has put into the request by now, where the client gave none.
        await send_problem(problem, self._send, name_of_request(self._scope))

    async def pass_on(self, message: Message) -> None:
        """A part of what the proxy says."""
        if self.is_replaced:
            return
        if message["type"] == "http.response.start":
            self.is_started = True
            message["headers"] = _once(message["headers"])
            if _is_serves_own(message):
                await self.replace(_problem(message["status"]))
                return
        await self._send(message)


def too_many_wait() -> Problem:
    """What is said where Serve's queue is full."""
    return _problem(503)


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


def _problem(status: int) -> Problem:
    if status == 408:
        return Problem(504, "No answer in time", retry_after_s=_RETRY_AFTER_S)
    # A replica that ended, or is not there yet: to ask again is safe, as no request changes anything.
    title = "Too many requests wait" if status == 503 else "The server is not ready"
    return Problem(503, title, "come again in a moment", retry_after_s=_RETRY_AFTER_S)

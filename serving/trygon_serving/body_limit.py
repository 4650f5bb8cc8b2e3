"""How large a body may be, and all of them together, where they arrive: Serve's proxy reads them as fast as they come
and keeps all of them, whether a replica reads them or there is none, before a key is asked for."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trygon.limits import Limits
from trygon_serving.gate import declared_bytes, name_of_request, send_problem
from trygon_serving.problem import Problem, too_large
from trygon_serving.refusals import Refusals
from trygon_serving.serve_answers import too_many_wait


class BodyLimit:
    """ASGI middleware that takes no more of a body than it may have, and no more of all than there is room for."""

    def __init__(self, app: ASGIApp, limits: Limits, refusals: Refusals) -> None:
        self._app, self._limits, self._refusals = app, limits, refusals
        self.held = 0
        """Bytes of bodies that have come of requests without an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        declared = declared_bytes(scope)
        if problem := self.problem_of(declared, declared):
            await self._refusals.refuse(problem, scope, send)
            return
        body = _Body(self, scope, receive, send)
        try:
            await self._app(scope, body.receive, body.send)
        finally:
            self.held -= body.size

    def problem_of(self, size: int, more: int) -> Problem | None:
        """Why a body of a size cannot come, `more` of which are still to be held; None where it can."""
        if size > self._limits.body_bytes:
            return too_large(self._limits)
        return too_many_wait() if more and self.held + more > self._limits.held_bytes else None


class _Body:
    """The body of one request, and the answer to it."""

    def __init__(self, limit: BodyLimit, scope: Scope, receive: Receive, send: Send) -> None:
        self._limit, self._scope, self._receive, self._send = limit, scope, receive, send
        self.size = 0
        self._is_answered = self._is_refused = False

    async def receive(self) -> Message:
        """The next part. Where there are too many the client has gone, for all that the proxy sees."""
        message = await self._receive()
        more = len(message.get("body", b""))
        problem = self._limit.problem_of(self.size + more, more)
        if problem is None:
            self.size += more
            self._limit.held += more
            return message
        if not self._is_answered:
            self._is_answered = self._is_refused = True
            await send_problem(problem, self._send, name_of_request(self._scope))
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """A part of the answer, unless another one was given."""
        self._is_answered = True
        if not self._is_refused:
            await self._send(message)

"""How large a body may be, where it arrives: Serve's proxy reads it as fast as it comes and keeps all of it, whether a
replica reads it or not, before a key is asked for."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trygon.limits import Limits
from trygon_serving.gate import declared_bytes, send_problem
from trygon_serving.problem import too_large
from trygon_serving.refusals import Refusals
from trygon_serving.serve_answers import names_in


class BodyLimit:
    """ASGI middleware that takes no more of a body than it may have."""

    def __init__(self, app: ASGIApp, limits: Limits, refusals: Refusals) -> None:
        self._app, self._limits, self._refusals = app, limits, refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if declared_bytes(scope) > self._limits.body_bytes:
            await self._refusals.refuse(too_large(self._limits), scope, send)
            return
        body = _Body(self._limits, scope, receive, send)
        await self._app(scope, body.receive, body.send)


class _Body:
    """The body of one request, and the answer to it."""

    def __init__(self, limits: Limits, scope: Scope, receive: Receive, send: Send) -> None:
        self._limits, self._scope, self._receive, self._send = limits, scope, receive, send
        self._size = 0
        self._is_answered = self._is_refused = False

    async def receive(self) -> Message:
        """The next part. Where there are too many the client has gone, for all that the proxy sees."""
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size <= self._limits.body_bytes:
            return message
        if not self._is_answered:
            self._is_answered = self._is_refused = True
            await send_problem(too_large(self._limits), self._send, names_in(self._scope["headers"]))
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """A part of the answer, unless another one was given."""
        self._is_answered = True
        if not self._is_refused:
            await self._send(message)

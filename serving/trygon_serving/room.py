"""How many requests are let in. Where more are in work than the replicas take, further ones are refused at once: a
replica would do so too, but costs Serve's proxy and itself some eight milliseconds a request by then, of those that it
answers the others with.

A slow model takes fewer, as many as only the replica knows: after one that it refused, the others are until one is
answered.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trygon_serving.problem import FULL
from trygon_serving.refusals import Refusals
from trygon_serving.serve_answers import too_many_wait


class Room:
    """ASGI middleware that lets in so many requests with a body; any number, without one."""

    def __init__(self, app: ASGIApp, most: int | None, refusals: Refusals) -> None:
        self._app, self._most, self._refusals = app, most, refusals
        self._in_work = 0
        """Requests with a body that has arrived whole: slow clients keep nobody out."""
        self._is_full = False
        """A replica refused a request, and none has been answered since."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST" or self._most is None:
            await self._let_in(scope, receive, send)
        elif self._is_full or self._in_work >= self._most:
            await self._refusals.refuse(too_many_wait(), scope, send)
        else:
            with self._counted(receive) as receive:
                await self._let_in(scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_answered = False

        async def pass_on(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            if message["type"] == "http.response.start":
                self._note(scope, message)
            await send(message)

        await self._app(scope, receive, pass_on)
        if not is_answered:
            self._is_full = False

    @contextmanager
    def _counted(self, receive: Receive) -> Iterator[Receive]:
        """Count a request from the end of its body on."""
        has_arrived = False

        async def counted() -> Message:
            nonlocal has_arrived
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body") and not has_arrived:
                has_arrived = True
                self._in_work += 1
            return message

        try:
            yield counted
        finally:
            self._in_work -= has_arrived
            self._is_full &= self._in_work > 0

    def _note(self, scope: Scope, message: Message) -> None:
        """What the head of an answer says of the room that there is."""
        others = [it for it in message["headers"] if it[0].lower() != FULL.encode()]
        if len(others) < len(message["headers"]):
            message["headers"], self._is_full = others, True
        elif scope["method"] == "POST" and not 400 <= message["status"] < 500:
            self._is_full = False

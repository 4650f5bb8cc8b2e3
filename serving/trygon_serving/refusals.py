"""What is refused before it reaches a replica: answered, and counted for Prometheus."""

import socket

from prometheus_client import CollectorRegistry, Counter, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trygon_serving.gate import name_of_request, send_problem
from trygon_serving.problem import Problem


class Refusals:
    """The refusals of one proxy."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        refused = Counter("trygon_refused", "Requests that reached no replica", ["proxy"], registry=self._registry)
        self._refused = refused.labels(socket.gethostname())  # each node has one, and each scrape sees one of them

    async def refuse(self, problem: Problem, scope: Scope, send: Send) -> None:
        """Answer what no replica is asked."""
        self._refused.inc()
        await send_problem(problem, send, name_of_request(scope))

    def figures(self) -> bytes:
        """What Prometheus is told beside the replica's figures."""
        return generate_latest(self._registry)


class OwnFigures:
    """ASGI middleware that adds to the replica's figures what it cannot know."""

    def __init__(self, app: ASGIApp, refusals: Refusals) -> None:
        self._app, self._refusals = app, refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"] != "/metrics":
            await self._app(scope, receive, send)
            return
        own = b""

        async def pass_on(message: Message) -> None:
            nonlocal own
            if message["type"] == "http.response.start" and message["status"] == 200:
                own = self._refusals.figures()
                message["headers"] = [it for it in message["headers"] if it[0].lower() != b"content-length"]
            elif message["type"] == "http.response.body" and not message.get("more_body"):
                message["body"] = message.get("body", b"") + own
            await send(message)

        await self._app(scope, receive, pass_on)

"""What stands before Ray Serve's own HTTP proxy: its answers in the form of all others, and one name a request.

Serve answers by itself where no replica can: its queue is full, the replica took too long, or there is none yet. It
does so in plain text, and where a replica dies with a request it says nothing at all. It also adds the header with the
request's name beside ours.
"""

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trygon_serving.gate import REQUEST_ID, send_problem
from trygon_serving.problem import Problem

VARIABLE, CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "trygon_serving.front.middlewares"
"""The environment variable by which Serve's proxy finds `middlewares`."""

_RETRY_AFTER_S = 1


class Front:
    """ASGI middleware around the proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = replaced = False

        async def pass_on(message: Message) -> None:
            nonlocal started, replaced
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = list(_once(message["headers"]))
                if replaced := _is_serves_own(message):
                    await send_problem(_problem(message["status"]), send, _names(message["headers"]))
            if not replaced:
                await send(message)

        await self._app(scope, receive, pass_on)
        if not started:
            await send_problem(_problem(500), send, _names(scope["headers"]))


def middlewares() -> list[Middleware]:
    """What Serve's proxy puts around itself."""
    return [Middleware(Front)]


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

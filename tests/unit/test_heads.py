"""Requests over a real socket, before any application: how large and slow their heads may be, what is none, and who
does not read the answer."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from trygon.limits import Limits
from trygon_serving import front
from trygon_serving.heads import LimitedProtocol
from trygon_serving.problem import PROBLEM_TYPE

pytestmark = pytest.mark.slow

LIMITS = Limits(header_bytes=20_000, header_s=0.5)
LARGE = 20_000_000
"""Bytes: more than sockets of both sides keep."""


class _Served:
    """What came through to the application, and where it is asked."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.port = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/large"):
            await self._answer_at_length(send, 1 if scope["path"] == "/large/whole" else 20)
            return
        size = 0
        while scope["path"] != "/refused":
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message["body"])
            if not message.get("more_body"):
                break
        self.seen.append(size)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def _answer_at_length(self, send: Send, num_parts: int) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % LARGE)]})
        for number in range(num_parts):
            part = bytes(LARGE // num_parts)
            await send({"type": "http.response.body", "body": part, "more_body": number + 1 < num_parts})

    def ask(self, *parts: bytes, pause_s: float = 0, answers: int = 0) -> bytes:
        """Everything that comes back until the server closes, or until as many good answers are there."""
        with socket.create_connection(("127.0.0.1", self.port)) as asking:
            asking.settimeout(30)
            back = b""
            with suppress(ConnectionError):  # closed while more was being sent
                for part in parts:
                    asking.sendall(part)
                    time.sleep(pause_s)
                while not answers or back.count(b"\r\n\r\nok") < answers:
                    if not (data := asking.recv(65_536)):
                        break
                    back += data
                else:
                    return back
            return back + b"<closed>"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Served]:
    """As Ray Serve starts it: the choice of the protocol is uvicorn's, after the callback was called."""
    monkeypatch.setenv(front.LIMITS, LIMITS.model_dump_json())
    monkeypatch.setattr("uvicorn.protocols.http.auto.AutoHTTPProtocol", None)
    monkeypatch.setattr(LimitedProtocol, "limits", LimitedProtocol.limits)
    monkeypatch.setattr("trygon_serving.heads._UNREAD_S", 0.5)

    front.middlewares()
    it = _Served()
    server = uvicorn.Server(uvicorn.Config(it, port=0, lifespan="off", log_level="critical"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    it.port = server.servers[0].sockets[0].getsockname()[1]
    yield it
    server.should_exit = True
    thread.join(30)


POST = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nimage\r\n0\r\n"


@pytest.mark.parametrize(
    "head",
    [
        POST + b"X: " + b"x" * 5_000_000,
        POST + b"X: y\r\n" * 500_000,
        b"GET /" + b"x" * 5_000_000,
        b"\r\n" * 2_000_000,
        CHUNKED + b"X: " + b"x" * 5_000_000,
        CHUNKED + b"X: y\r\n" * 500_000,
    ],
    ids=["one header", "many", "path", "blank lines", "one trailer", "many trailers"],
)
def test_what_is_too_much_is_refused_before_all_of_it_came(served: _Served, head: bytes) -> None:
    back = served.ask(head)
    assert back.endswith(b"<closed>")
    assert served.seen == []
    assert back.startswith(b"HTTP/1.1 431 ") or back == b"<closed>"


def test_who_is_refused_is_told_why(served: _Served) -> None:
    """Where nothing more is on its way: what is sent to a closed connection would take the answer with it."""
    back = served.ask(POST + b"X: " + b"x" * 37_000)
    head, _, body = back.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert PROBLEM_TYPE.encode() in head
    assert b"at most 20000 bytes" in body


@pytest.mark.parametrize("dripped", [[b"POST /", b"v1 "], [POST, b"X: y\r\n"], [GET, b"GE"]])
def test_a_slow_head_is_not_waited_for(served: _Served, dripped: list[bytes]) -> None:
    back = served.ask(*dripped, pause_s=0.4)
    assert b"HTTP/1.1 408 " in back
    assert back.endswith(b"<closed>")


def test_who_says_nothing_is_not_waited_for(served: _Served) -> None:
    assert served.ask() == b"<closed>"


@pytest.mark.parametrize(
    ("parts", "size"),
    [
        ([POST + b"X: " + b"x" * 18_000 + b"\r\nContent-Length: 5\r\n\r\nimage"], 5),
        ([POST + b"Content-Length: 3000000\r\n\r\n", *[b"x" * 1_000_000] * 3], 3_000_000),
        (
            [POST + b"Transfer-Encoding: chunked\r\n\r\n", *[b"5\r\nimage\r\n"] * 9000, b"0\r\nX: trailer\r\n\r\n"],
            45_000,
        ),
        ([POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"], 0),
    ],
    ids=["large head", "large body", "many chunks", "no WebSocket"],
)
def test_everything_else_passes(served: _Served, parts: list[bytes], size: int) -> None:
    assert served.ask(*parts, answers=1).startswith(b"HTTP/1.1 200 ")
    assert served.seen == [size]


@pytest.mark.parametrize(
    "parts",
    [
        [b"Content-Length: 20\r\n\r\n", b"x"],
        [b"Content-Length: 20\r\n\r\n", b"x" * 20],
        [b"Content-Length: 20\r\n\r\n", *[b"x"] * 10],
        [b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nimage\r\n", b"5"],
    ],
    ids=["a byte", "all of it", "drop by drop", "half a chunk"],
)
def test_who_was_answered_before_the_body_came_is_not_waited_for(served: _Served, parts: list[bytes]) -> None:
    back = served.ask(POST.replace(b"/v1/classify", b"/refused") + parts[0], *parts[1:], pause_s=0.2)
    assert back.endswith(b"\r\n\r\nok<closed>") or back == b"<closed>"  # while more was being sent
    assert back.count(b"HTTP/1.1 ") <= 1


def test_who_was_answered_before_the_body_came_may_send_it_and_ask_again(served: _Served) -> None:
    head = POST.replace(b"/v1/classify", b"/refused") + b"Content-Length: 20\r\n\r\n"
    back = served.ask(
        head, b"x" * 10, b"x" * 10 + POST + b"Content-Length: 5\r\n\r\n", b"image", pause_s=0.2, answers=2
    )
    assert back.count(b"HTTP/1.1 200 ") == 2


def test_a_slow_body_and_a_pause_between_requests_are_no_slow_heads(served: _Served) -> None:
    back = served.ask(POST + b"Content-Length: 4\r\n\r\n", b"im", b"ag" + GET, GET, pause_s=0.7, answers=3)
    assert back.count(b"HTTP/1.1 200 ") == 3


@pytest.mark.parametrize(
    "parts",
    [
        [b"nonsense\r\n\r\n"],
        [b"\x16\x03\x01\x02\x00\x01\x00\x01"],
        [b"GET http://x:99999999/ HTTP/1.1\r\nHost: x\r\n\r\n"],
        [POST + b"X\r\n\r\n"],
        [POST + b"Transfer-Encoding: chunked\r\n\r\n", b"no number\r\n"],
        [POST + b"Content-Length: many\r\n\r\n"],
    ],
    ids=["words", "TLS", "no path", "no header", "no chunk", "no length"],
)
def test_what_is_not_http_is_a_problem_too(served: _Served, parts: list[bytes]) -> None:
    back = served.ask(*parts, pause_s=0.1)
    head, _, body = back.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert f"content-type: {PROBLEM_TYPE}".encode() in head
    assert json.loads(body.removesuffix(b"<closed>")) == {
        "type": "about:blank",
        "title": "The request is not HTTP/1.1",
        "status": 400,
    }
    assert served.seen == []


def test_what_is_not_http_does_not_get_into_an_answer(served: _Served) -> None:
    assert served.ask(GET + b"nonsense\r\n\r\n") == b"<closed>"
    assert served.ask(GET, b"nonsense\r\n\r\n", pause_s=0.2).count(b"HTTP/1.1 400 ") == 1


def _read_all(asking: socket.socket, pause_s: float = 0) -> int:
    """How many bytes come until all of the large answer is there, or the connection ends."""
    size, data = 0, b"x"
    with suppress(ConnectionError):
        while data and size < LARGE:
            data = asking.recv(1_000_000)
            size += len(data)
            time.sleep(pause_s)
    return size


@pytest.mark.parametrize("path", [b"/large", b"/large/whole"], ids=["that is written", "on a connection that closes"])
def test_who_does_not_read_an_answer_is_dropped(served: _Served, path: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as asking:
        asking.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        time.sleep(3)
        assert _read_all(asking) < LARGE


@pytest.mark.parametrize("path", [b"/large", b"/large/whole"])
def test_an_answer_that_is_read_slowly_comes_whole(served: _Served, path: bytes) -> None:
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as asking:
        asking.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert _read_all(asking, pause_s=0.1) >= LARGE
    assert time.monotonic() - start > 1.5

"""The typed client, where connections break or are refused: by a server on loopback that does so as often as told."""

import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from trygon.testing.servers import free_port, write_certificate
from trygon_serving.client import Client
from trygon_serving.problem import Problem

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]"
_LATE = b"HTTP/1.1 504 Late\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@contextmanager
def _server(port: int, num_broken: int, answer: bytes = _ANSWER, first: bytes = b"") -> Iterator[list[bytes]]:
    """Gives the first requests another answer, or none and breaks off, and answers the others; the requests so far."""
    requests: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                requests.append(connection.recv(65_536))
                connection.sendall(answer if len(requests) > num_broken else first)

    with socket.create_server(("127.0.0.1", port)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield requests
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(20)


def test_a_broken_connection_is_no_answer_and_the_server_is_asked_again() -> None:
    port = free_port()
    with _server(port, num_broken=2) as requests, Client(f"http://127.0.0.1:{port}", "trygon_key") as client:
        assert client.models() == []
    assert len(requests) == 3
    assert all(it.startswith(b"GET /v1/models") and b"Bearer trygon_key" in it for it in requests)


def test_what_did_not_end_in_time_is_asked_again_when_the_server_says() -> None:
    port, start_s = free_port(), time.monotonic()
    with _server(port, num_broken=1, first=_LATE) as requests, Client(f"http://127.0.0.1:{port}") as client:
        assert client.models() == []
    assert len(requests) == 2
    assert time.monotonic() - start_s >= 1


def test_a_certificate_that_the_server_signed_itself_is_taken_if_it_is_named(tmp_path: Path) -> None:
    certificate, port, key = tmp_path / "cert.pem", free_port(), tmp_path / "key.pem"
    write_certificate(certificate, key)
    app = uvicorn.Config(_nothing, port=port, ssl_certfile=certificate, ssl_keyfile=key, log_level="error")
    server = uvicorn.Server(app)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        trust = ssl.create_default_context(cafile=certificate)
        with Client(f"https://127.0.0.1:{port}", trust=trust) as client:
            assert client.models() == []
        stranger = Client(f"https://127.0.0.1:{port}", attempts=10_000)  # none of which would help
        with stranger, pytest.raises(Problem, match="CERTIFICATE_VERIFY_FAILED"):
            stranger.models()
    finally:
        server.should_exit = True
        thread.join(20)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers everything with an empty list."""
    if scope["type"] == "http":
        await JSONResponse([])(scope, receive, send)


def test_a_server_that_is_started_again_meanwhile_answers() -> None:
    port, replies = free_port(), []

    def ask() -> None:
        with Client(f"http://127.0.0.1:{port}") as client:
            replies.append(client.models())

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.5)  # it has been refused by then
    with _server(port, num_broken=0) as requests:
        thread.join(20)
    assert replies == [[]]
    assert len(requests) == 1


def test_a_server_that_is_not_there_is_a_problem_like_all_others() -> None:
    port, start_s = free_port(), time.monotonic()
    with Client(f"http://127.0.0.1:{port}", attempts=2) as client:
        with pytest.raises(Problem) as caught:
            client.models()
        assert not client.is_ready()
    assert (caught.value.status, caught.value.title) == (503, "The server does not answer")
    assert caught.value.detail.startswith(f"127.0.0.1:{port}: ")
    assert time.monotonic() - start_s >= 1  # not at once again


def test_a_server_that_says_nothing_is_one_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with Client(address, timeout_s=0.2, attempts=1) as client, pytest.raises(Problem) as caught:
            client.models()
    assert (caught.value.status, caught.value.title) == (504, "The server does not answer")


def test_an_address_that_is_none_is_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"url '127\.0\.0\.1:8000': give the server's address"):
        Client("127.0.0.1:8000")


def test_a_program_that_imports_it_imports_neither_ray_nor_torch() -> None:
    told = "import sys, trygon_serving.client; print({'ray', 'torch'} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"

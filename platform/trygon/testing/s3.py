"""A real S3 interface on loopback, and a proxy before it that breaks what S3 may break: moto's server over HTTP.

Knows HTTP and nothing of what is stored.
"""

import os
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from trygon.storage import copy_file, join

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server", "expect"}
_ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code><Message>{}</Message></Error>'
_CONDITIONS = {"if-match", "if-none-match"}
_CHECKSUMS = re.compile("x-amz-(sdk-checksum-algorithm|checksum-(crc|sha).*|trailer)")
_PIECE_BYTES = 64 << 10


def environment(address: str) -> dict[str, str]:
    """What a user of an S3 server of their own sets. Nothing of this machine's own account is looked at."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "NO_PROXY": "127.0.0.1",
    }


@contextmanager
def using(address: str) -> Iterator[None]:
    """This process, and what it starts, talks to the server at `address` until the end of the block."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(environment(address))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def s3_server(*buckets: str) -> Iterator[str]:
    """The address of a server that has these buckets and takes any key; it ends with the block."""
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    # moto's own server takes half a second to end.
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=address, **keys)
    for bucket in buckets:
        client.create_bucket(Bucket=bucket)
    try:
        yield address
    finally:
        server.shutdown()
        thread.join()


def bring(folder: Path, to: str) -> str:
    """Copy all files below a folder to an address; the address."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        copy_file(path, join(to, path.relative_to(folder).as_posix()))
    return to


@contextmanager
def asking_for_keys(address: str) -> Iterator[None]:
    """The server asks for keys that it knows, as S3 does, until the end of the block; else it takes any."""
    import requests

    def allow(num_requests: bytes) -> None:
        requests.post(f"{address}/moto-api/reset-auth", data=num_requests, timeout=10).raise_for_status()

    allow(b"0")
    try:
        yield
    finally:
        allow(b"inf")


class Kind(StrEnum):
    """What happens to a request."""

    SLOW_DOWN = "slow_down"  # 503, nothing is done
    DENY = "deny"  # 403, nothing is done
    EXPIRE = "expire"  # 400, as to a token whose time is over; nothing is done
    HOLD = "hold"  # it is taken whole, nothing is done, and no answer comes
    DROP_REQUEST = "drop_request"  # the connection is reset in the middle of the request's body, nothing is done
    CHANGE = "change"  # a byte of the request's body is another one in what is stored
    DROP_ANSWER = "drop_answer"  # it is reset in the middle of the answer's body
    TRUNCATE = "truncate"  # the answer ends in good order, with less than it promised
    LOSE_ANSWER = "lose_answer"  # all is done, and the connection closed without a word of it
    SLOW = "slow"  # the answer comes in drops
    STALL = "stall"  # the answer stops half-way, and the connection stays
    NO_CONDITIONS = "no_conditions"  # 501 where a write has a condition
    IGNORE_CONDITIONS = "ignore_conditions"  # the condition is not looked at
    NO_CHECKSUMS = "no_checksums"  # 501 where a request has a checksum


BREAKS = (Kind.SLOW_DOWN, Kind.DROP_REQUEST, Kind.DROP_ANSWER, Kind.TRUNCATE, Kind.LOSE_ANSWER, Kind.SLOW)
"""What any server does now and then."""


_UNKNOWN = 501, "NotImplemented", "A header implies functionality that is not implemented."
_ERRORS = {
    Kind.SLOW_DOWN: (503, "SlowDown", "Please reduce your request rate."),
    Kind.DENY: (403, "AccessDenied", "Access Denied"),
    Kind.EXPIRE: (400, "ExpiredToken", "The provided token has expired."),
    Kind.NO_CONDITIONS: _UNKNOWN,
    Kind.NO_CHECKSUMS: _UNKNOWN,
}


@dataclass(frozen=True)
class Fault:
    """Each `every`-th request that the fault can be done to meets it: the same number in every run."""

    kind: Kind
    every: int = 5
    methods: tuple[str, ...] = ("GET", "PUT", "POST", "HEAD", "DELETE")
    path: str = ""
    """A regular expression: only requests for such paths meet it."""


@dataclass
class FaultyS3:
    """A proxy before the server at `upstream`; `met` counts the faults that were done. Use as a context manager."""

    upstream: str
    faults: Sequence[Fault]
    met: Counter[Kind] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._turns: Counter[Fault] = Counter()
        self._lock = threading.Lock()
        self.over = threading.Event()

    def __enter__(self) -> "FaultyS3":
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def takes(self, kinds: Sequence[Kind], method: str, path: str) -> Kind | None:
        """The fault that this request meets now, of those that can be done to it."""
        with self._lock:
            for fault in self.faults:
                if fault.kind in kinds and method in fault.methods and re.search(fault.path, path):
                    self._turns[fault] += 1
                    if self._turns[fault] % fault.every == 0:
                        self.met[fault.kind] += 1
                        return fault.kind
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that break are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    """Hands a request on and its answer back."""

    owner: FaultyS3
    protocol_version = "HTTP/1.1"

    def do_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        kinds = [Kind.SLOW_DOWN, Kind.DENY, Kind.EXPIRE, Kind.HOLD]
        kinds += [Kind.DROP_REQUEST, Kind.CHANGE] if length > 1 else []
        if _CONDITIONS & {name.lower() for name in self.headers}:
            kinds += [Kind.NO_CONDITIONS, Kind.IGNORE_CONDITIONS]
        if any(_CHECKSUMS.fullmatch(name.lower()) for name in self.headers):
            kinds.append(Kind.NO_CHECKSUMS)
        fault = self.owner.takes(kinds, self.command, self.path.partition("?")[0])
        if fault is Kind.DROP_REQUEST:
            self.rfile.read(length // 2)
            return self._reset()
        body = self.rfile.read(length) if length else self._chunks()
        if fault is Kind.HOLD:
            self.owner.over.wait()
            return self._reset()
        if fault and (error := _ERRORS.get(fault)):
            status, *told = error
            data = _ERROR.format(*told).encode()
            return self._answer(status, [("Content-Type", "application/xml")], data, len(data))
        if fault is Kind.CHANGE:
            half = length // 2
            body = body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :]
        address = urlsplit(self.owner.upstream)
        upstream = HTTPConnection(address.hostname or "", address.port, timeout=60)
        try:
            left_out = _HOP_BY_HOP | (_CONDITIONS if fault is Kind.IGNORE_CONDITIONS else set())
            headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
            upstream.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
            return self._pass_on(upstream.getresponse())
        finally:
            upstream.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_any

    def _pass_on(self, answer: HTTPResponse) -> None:
        data = answer.read()
        kinds = [Kind.LOSE_ANSWER]
        if self.command == "GET" and answer.status < 300 and len(data) > 1:
            kinds += [Kind.DROP_ANSWER, Kind.TRUNCATE, Kind.SLOW, Kind.STALL]
        fault = self.owner.takes(kinds, self.command, self.path.partition("?")[0])
        if fault is Kind.LOSE_ANSWER:
            return self._reset()
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP]
        length = int(answer.getheader("Content-Length") or len(data))
        if fault in (Kind.DROP_ANSWER, Kind.TRUNCATE, Kind.STALL):
            self._answer(answer.status, headers, data[: len(data) // 2], length)
            if fault is Kind.STALL:
                self.owner.over.wait()
            if fault is Kind.DROP_ANSWER:
                return self._reset()
            self.close_connection = True
            return None
        return self._answer(answer.status, headers, data, length, 0.02 if fault is Kind.SLOW else 0.0)

    def _answer(
        self, status: int, headers: Sequence[tuple[str, str]], data: bytes, length: int, pause_s: float = 0.0
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "HEAD":
            return
        for start in range(0, len(data), _PIECE_BYTES):
            self.wfile.write(data[start : start + _PIECE_BYTES])
            time.sleep(pause_s)
        self.wfile.flush()

    def _chunks(self) -> bytes:
        """The body of a request that does not say its length beforehand."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return b""
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _reset(self) -> None:
        """End the connection with a reset, as when a machine between goes away."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

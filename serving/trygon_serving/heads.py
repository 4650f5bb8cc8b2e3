"""How large the head of a request may be, and how long it may take, where it arrives, and how long an answer may lie
unread: uvicorn itself limits none of these.

Ray Serve's proxy runs uvicorn, which keeps all headers that come, of anyone, before the application sees any of them.
"""

import asyncio

import uvicorn.protocols.http.auto
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from trygon.limits import Limits
from trygon_serving.problem import PROBLEM_TYPE, Problem

_PIECE_BYTES = 16_384
"""The parser is fed so much at a time: what it keeps is known in between."""

_UNREAD_S = 30.0
"""Between two looks at what the client has not taken yet."""


class LimitedProtocol(HttpToolsProtocol):
    """A connection. What is neither body nor the end of a head may be so much, and a head take so long."""

    limits = Limits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Wait for the first head."""
        super().connection_made(transport)
        self.ws_protocol_class = None  # nothing here speaks WebSocket, which would have limits of its own
        self._kept = 0
        """Bytes that the parser has taken and not given away as body, or as a whole head: trailers too."""
        self._within_head = True
        self._hurry: asyncio.TimerHandle | None = None
        self._unread_bytes = 0
        """What was there at the last look, unless something was taken since."""
        self._look = self.loop.call_later(_UNREAD_S, self._require_reader)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take what came, as long as it is not too much."""
        for start in range(0, len(data), _PIECE_BYTES):
            if self.transport.is_closing():
                return
            if self._within_head and not self._hurry:
                self._await_head()
            piece = data[start : start + _PIECE_BYTES]
            self._kept += len(piece)
            super().data_received(piece)
            if self._kept > self.limits.header_bytes + _PIECE_BYTES:
                self._refuse(Problem(431, "The headers are too large", f"at most {self.limits.header_bytes} bytes"))

    def on_headers_complete(self) -> None:
        """From here on comes the body."""
        super().on_headers_complete()  # fails where the path is none
        self._within_head, self._kept = False, 0
        self._stop_waiting()

    def on_body(self, body: bytes) -> None:
        """The application looks after what it is given."""
        self._kept = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """What comes next is another head; for how long none may come, uvicorn knows."""
        self._within_head, self._kept = True, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Where all of the body has not come by then, the rest of it and the next head have as long as a head: uvicorn
        would wait for ever for a client that sends one more byte."""
        super().on_response_complete()
        if not self._within_head and self.cycle.response_complete:
            self._await_head()

    def resume_writing(self) -> None:
        """Enough was taken for more."""
        self._unread_bytes = 0
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What could not be parsed, in the form of all other problems."""
        self._refuse(Problem(400, "The request is not HTTP/1.1"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more."""
        self._stop_waiting()
        self._look.cancel()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._hurry = self.loop.call_later(self.limits.header_s, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._hurry:
            self._hurry.cancel()
            self._hurry = None

    def _too_slow(self) -> None:
        self._refuse(Problem(408, "The headers did not arrive in time", f"within {self.limits.header_s:.0f} s"))

    def _require_reader(self) -> None:
        """End a connection of which nothing was taken since the last look. uvicorn would wait for ever, with the
        answer and whoever makes it; and a transport that closes, for what it still has to send."""
        unread_bytes = self.transport.get_write_buffer_size()
        if unread_bytes and unread_bytes == self._unread_bytes:
            self.transport.abort()
            return
        self._unread_bytes = unread_bytes
        self._look = self.loop.call_later(_UNREAD_S, self._require_reader)

    def _refuse(self, problem: Problem) -> None:
        """Close, and say why where something was asked and no other answer is on its way."""
        if self.transport.is_closing():
            return
        if self._is_unanswered():
            lines = [b"content-type: " + PROBLEM_TYPE.encode(), b"content-length: %d" % len(problem.body)]
            head = STATUS_LINE[problem.status] + b"\r\n".join([*lines, b"connection: close", b"", b""])
            self.transport.write(head + problem.body)
        self.transport.close()

    def _is_unanswered(self) -> bool:
        """Whether what comes now is a request to which nothing was said yet, and none before it waits for an
        answer."""
        if self._within_head:
            return self._kept > 0 and (self.cycle is None or self.cycle.response_complete)
        return not self.cycle.response_started and not self.pipeline


def limit_heads(limits: Limits) -> None:
    """Every uvicorn that starts in this process from now on keeps to these limits. (Ray Serve starts it by itself, and
    leaves the choice of the protocol to it.)"""
    LimitedProtocol.limits = limits
    uvicorn.protocols.http.auto.AutoHTTPProtocol = LimitedProtocol

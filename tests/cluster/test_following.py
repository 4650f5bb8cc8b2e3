"""A job's log is followed through connections that break: Ray's own client, and a job server that breaks them."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from aiohttp import web

from trygon.cluster import submission
from trygon.errors import TrygonError

LINES = ["one\n", "two\n", "three\n", "four\n"]


@dataclass
class JobServer:
    """What Ray's job server says of one job. Each of `breaks` is a connection that ends after so many lines, as when a
    machine between goes away; then the log comes whole."""

    breaks: list[int]
    is_over: bool = True
    address: str = ""

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": "2.60.0", "ray_commit": "", "session_name": ""})

    async def tail(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        num_lines = self.breaks.pop(0) if self.breaks else None
        for line in LINES[:num_lines]:
            await socket.send_str(line)
        if num_lines is not None:
            await asyncio.sleep(0.05)
            assert request.transport
            request.transport.abort()
        else:
            await socket.close()
        return socket

    async def info(self, _: web.Request) -> web.Response:
        status = "SUCCEEDED" if self.is_over else "RUNNING"
        return web.json_response({"type": "SUBMISSION", "entrypoint": "", "status": status, "submission_id": "job"})


@contextmanager
def _listening(server: JobServer) -> Iterator[JobServer]:
    loop = asyncio.new_event_loop()
    app = web.Application()
    app.add_routes([web.get("/api/version", server.version), web.get("/api/jobs/job", server.info)])
    app.add_routes([web.get("/api/jobs/job/logs/tail", server.tail)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0)
    loop.run_until_complete(site.start())
    server.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(runner.cleanup())
        loop.close()


def test_each_line_is_written_once_through_connections_that_break() -> None:
    written: list[str] = []
    with _listening(JobServer(breaks=[2, 1, 3])) as server:
        details = submission.follow(submission.connect(server.address), "job", written.append)
    assert "".join(written) == "".join(LINES)
    assert details.status == "SUCCEEDED"


def test_a_quiet_job_whose_connections_break_is_followed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a proxy that ends what is idle: the cluster answers all the while."""
    monkeypatch.setattr(submission, "_LOST_AFTER_S", 1.5)
    server = JobServer(breaks=[0] * 4, is_over=False)
    ending = threading.Timer(3.5, lambda: setattr(server, "is_over", True))
    written: list[str] = []
    with _listening(server):
        ending.start()
        submission.follow(submission.connect(server.address), "job", written.append)
    assert not server.breaks
    assert "".join(written) == "".join(LINES)


def test_a_cluster_that_is_away_for_long_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "_LOST_AFTER_S", 0.5)
    with _listening(JobServer(breaks=[])) as server:
        client = submission.connect(server.address)
    with pytest.raises(TrygonError, match="job may still run there"):
        submission.follow(client, "job", print)

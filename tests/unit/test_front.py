"""What Serve's proxy says by itself, in the form of all other problems."""

import asyncio
import pkgutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from trygon.limits import Limits
from trygon_serving.front import CALLBACK, KEYS, Front, middlewares
from trygon_serving.gate import OPEN_PATHS
from trygon_serving.heads import LimitedProtocol
from trygon_serving.keys import Keys, add_key, remove_key
from trygon_serving.problem import FULL, PROBLEM_TYPE


def _client(response: Response) -> TestClient:
    async def answer(request: Request) -> Response:
        return response

    return TestClient(Front(Starlette(routes=[Route("/", answer)])))


@pytest.mark.parametrize(("said", "status"), [(503, 503), (500, 503), (404, 503), (408, 504)])
def test_plain_words_of_serve_become_a_problem_with_a_time_to_come_back(said: int, status: int) -> None:
    plain = PlainTextResponse("Request dropped due to backpressure", said)
    response = _client(plain).get("/", headers={"X-Request-ID": "seven"})
    assert response.status_code == response.json()["status"] == status
    assert response.headers["content-type"] == PROBLEM_TYPE
    assert int(response.headers["retry-after"]) >= 1
    assert response.headers["x-request-id"] == "seven"
    assert "backpressure" not in response.text


@pytest.mark.parametrize(
    "answer",
    [
        Response(b"{}", 404, media_type=PROBLEM_TYPE),
        PlainTextResponse("trygon_requests_total 1\n"),
        Response(b"{}", 200, media_type="application/json"),
    ],
)
def test_what_the_application_says_stays(answer: Response) -> None:
    response = _client(answer).get("/")
    assert (response.status_code, response.content) == (answer.status_code, answer.body)
    assert response.headers["content-type"] == answer.headers["content-type"]


def test_silence_becomes_a_problem_too() -> None:
    response = TestClient(Front(_say_nothing)).get("/", headers={"X-Request-ID": "seven"})
    assert response.status_code == response.json()["status"] == 503
    assert response.headers["retry-after"]
    assert response.headers["x-request-id"] == "seven"


def test_a_request_has_the_name_that_the_application_gave_it() -> None:
    answer = Response(b"{}", 200)
    answer.raw_headers += [(b"x-request-id", b"ours"), (b"X-Request-ID", b"serves")]
    assert _client(answer).get("/").headers.get_list("x-request-id") == ["ours"]


@pytest.mark.parametrize(("given", "is_kept"), [("walk-7", True), ("two words", False), ("x" * 65, False)])
def test_a_name_that_is_none_is_given_back_by_nobody(given: str, is_kept: bool) -> None:
    """Whoever refuses: the front, the proxy itself, or what stands in for a replica that says nothing."""
    small = Front(_keep_all, limits=Limits(body_bytes=99))
    for front, parts, declared in (
        (small, [], b"1000"),
        (small, [b"x" * 40] * 25, b"9"),
        (Front(_say_nothing), [], b"9"),
    ):
        (start, _), _ = _asked(front, parts, [(b"content-length", declared), (b"x-request-id", given.encode())])
        (name,) = [value for key, value in start["headers"] if key == b"x-request-id"]
        assert (name == given.encode()) == is_kept
        assert len(name) <= 64


def test_more_requests_than_may_be_in_work_are_refused_at_once_and_counted() -> None:
    """But what has no body waits for nobody, and a body that has not arrived keeps nobody out."""
    released = asyncio.Event()

    async def answer(request: Request) -> Response:
        await request.body()
        await released.wait()
        return Response(b"{}", media_type="application/json")

    async def metrics(request: Request) -> Response:
        return PlainTextResponse("trygon_requests_total 1\n")

    routes = [Route("/", answer, methods=["POST"]), Route("/metrics", metrics)]
    transport = httpx.ASGITransport(Front(Starlette(routes=routes), most=2))

    async def slowly() -> AsyncIterator[bytes]:
        yield b"a part"
        await released.wait()

    async def ask() -> None:
        async with httpx.AsyncClient(transport=transport, base_url="http://front") as client:
            slow = [asyncio.create_task(client.post("/", content=slowly())) for _ in range(5)]
            await asyncio.sleep(0)
            inside = [asyncio.create_task(client.post("/", content=b"x")) for _ in range(2)]
            await asyncio.sleep(0.05)
            for _ in range(3):
                refused = await client.post("/", content=b"x", headers={"X-Request-ID": "seven"})
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert refused.headers["content-type"] == PROBLEM_TYPE
                assert refused.headers["x-request-id"] == "seven"
            told = (await client.get("/metrics")).text
            assert told.startswith("trygon_requests_total 1\n")
            assert f'trygon_refused_total{{proxy="{socket.gethostname()}"}} 3.0' in told
            released.set()
            assert {it.status_code for it in await asyncio.gather(*slow, *inside)} == {200}
            assert (await client.post("/", content=b"x")).status_code == 200

    asyncio.run(ask())


def test_after_a_replica_refused_one_others_are_refused_until_one_is_answered() -> None:
    """A slow model: the replica lets in two, whatever the front knows. Each that it refuses costs it time."""
    asked, room = 0, asyncio.Semaphore(2)
    release = asyncio.Queue[None]()

    async def answer(request: Request) -> Response:
        nonlocal asked
        asked += 1
        await request.body()
        if room.locked():
            return Response(b"{}", 503, {FULL: "1", "Retry-After": "1"}, PROBLEM_TYPE)
        async with room:
            await release.get()
        return Response(b"{}", media_type="application/json")

    front = Front(Starlette(routes=[Route("/", answer, methods=["POST"])]), most=64)

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://front") as client:
            for _ in range(2):
                inside = [asyncio.create_task(client.post("/", content=b"x")) for _ in range(2)]
                await asyncio.sleep(0.05)
                before = asked
                refused = [await client.post("/", content=b"x") for _ in range(5)]
                assert {it.status_code for it in refused} == {503}
                assert all(it.headers["retry-after"] for it in refused)
                assert not any(FULL in it.headers for it in refused)
                assert asked == before + 1
                release.put_nowait(None)
                await asyncio.wait(inside, return_when=asyncio.FIRST_COMPLETED)
                release.put_nowait(None)
                assert (await client.post("/", content=b"x")).status_code == 200
                release.put_nowait(None)
                assert {it.status_code for it in await asyncio.gather(*inside)} == {200}

    asyncio.run(ask())


def test_where_nothing_is_in_work_everyone_is_let_through_again() -> None:
    asked = 0

    async def answer(request: Request) -> Response:
        nonlocal asked
        asked += 1
        await request.body()
        return Response(b"{}", 503, {FULL: "1"}, PROBLEM_TYPE)

    client = TestClient(Front(Starlette(routes=[Route("/", answer, methods=["POST"])]), most=64))
    assert [client.post("/", content=b"x").status_code for _ in range(3)] == [503] * 3
    assert asked == 3


def _asked(
    front: Front, parts: list[bytes], headers: list[tuple[bytes, bytes]], path: str = "/"
) -> tuple[list[Message], int]:
    """What a client of ASGI is answered that sends these parts, and how many of them were taken."""
    sent: list[Message] = []
    left = [{"type": "http.request", "body": part, "more_body": True} for part in parts]

    async def receive() -> Message:
        return left.pop(0) if left else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope["headers"] = headers
    asyncio.run(front(scope, receive, send))
    return sent, len(parts) - len(left)


async def _say_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """A replica that died with the request."""


async def _keep_all(scope: Scope, receive: Receive, send: Send) -> None:
    """As Serve's proxy does for a replica that reads none of it, and has no figures."""
    if scope["path"] == "/metrics":
        await PlainTextResponse("")(scope, receive, send)
        return
    while (await receive())["type"] != "http.disconnect":
        pass
    await PlainTextResponse("the client went away", 499)(scope, receive, send)


@pytest.mark.parametrize(
    ("declared", "num_taken"), [([(b"content-length", b"1000")], 0), ([(b"content-length", b"9")], 3), ([], 3)]
)
def test_a_body_that_is_too_large_is_not_kept(declared: list[tuple[bytes, bytes]], num_taken: int) -> None:
    front = Front(_keep_all, most=2, limits=Limits(body_bytes=99))
    (start, body), taken = _asked(front, [b"x" * 40] * 25, [*declared, (b"x-request-id", b"seven")])
    assert (start["status"], taken) == (413, num_taken)
    assert dict(start["headers"])[b"content-type"].decode() == PROBLEM_TYPE
    assert dict(start["headers"])[b"x-request-id"] == b"seven"
    assert b"too large" in body["body"]
    refused = f'trygon_refused_total{{proxy="{socket.gethostname()}"}} 1.0'
    assert (refused in TestClient(front).get("/metrics").text) == (num_taken == 0)


@pytest.mark.parametrize("declared", [True, False])
def test_bodies_hold_no_more_memory_together_than_there_is_room_for(declared: bool) -> None:
    """As where there is no replica yet, and everyone's picture comes all the same."""
    released = asyncio.Event()

    async def answer(request: Request) -> Response:
        await request.body()
        await released.wait()
        return Response(b"{}", media_type="application/json")

    front = Front(
        Starlette(routes=[Route("/", answer, methods=["POST"])]), limits=Limits(body_bytes=99, held_bytes=150)
    )

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 30

    async def ask() -> None:
        transport = httpx.ASGITransport(front)
        async with httpx.AsyncClient(transport=transport, base_url="http://front") as client:
            first = asyncio.create_task(client.post("/", content=parts()))
            await asyncio.sleep(0.05)
            refused = await client.post("/", content=b"x" * 90 if declared else parts())
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            released.set()
            assert (await client.post("/", content=b"x" * 60)).status_code == 200
            assert (await first).status_code == 200
            assert (await client.post("/", content=parts())).status_code == 200, "what was answered holds nothing"

    asyncio.run(ask())


def test_an_answer_that_is_on_its_way_is_not_answered_again() -> None:
    async def answer_first(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(b"{}", 401, media_type=PROBLEM_TYPE)(scope, receive, send)
        while (await receive())["type"] != "http.disconnect":
            pass

    sent, _ = _asked(Front(answer_first, limits=Limits(body_bytes=99)), [b"x" * 40] * 25, [])
    assert [it.get("status") for it in sent] == [401, None]


async def _yes(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("yes")(scope, receive, send)


@pytest.mark.parametrize("given", [b"", b"Bearer trygon_00000000_x", b"\xff"])
def test_who_has_no_key_is_refused_before_the_proxy_is_asked_and_no_body_is_taken(
    tmp_path: Path, given: bytes
) -> None:
    token = add_key(tmp_path / "keys.json", "app")
    front = Front(_yes, keys=Keys(tmp_path / "keys.json"))
    sent = [(b"authorization", given), (b"x-request-id", b"seven")]
    (start, body), taken = _asked(front, [b"x"], sent, "/v1/classify")
    assert (start["status"], taken) == (401, 0)
    headers = dict(start["headers"])
    assert headers[b"content-type"].decode() == PROBLEM_TYPE
    assert (headers[b"www-authenticate"], headers[b"x-request-id"]) == (b"Bearer", b"seven")
    assert b"A key is needed" in body["body"]
    told = TestClient(front, headers={"Authorization": f"Bearer {token}"}).get("/metrics").text
    assert f'trygon_refused_total{{proxy="{socket.gethostname()}"}} 1.0' in told


def test_open_paths_and_the_probe_of_a_pod_need_no_key(tmp_path: Path) -> None:
    """All others do, also those that Serve answers by itself."""
    add_key(tmp_path / "keys.json", "app")
    client = TestClient(Front(_yes, keys=Keys(tmp_path / "keys.json")))
    for path in (*OPEN_PATHS, "/-/healthz"):
        assert client.get(path).text == "yes"
    for path in ("/v1/taxa", "/metrics", "/-/routes", "/healthz/"):
        assert client.get(path).status_code == 401


def test_a_key_is_replaced_without_a_restart_and_its_requests_are_counted_by_the_replica_alone(tmp_path: Path) -> None:
    file, now_s = tmp_path / "keys.json", 0.0
    old = add_key(file, "app", per_minute=1)
    client = TestClient(Front(_yes, keys=Keys(file, lambda: now_s)))

    def status(token: str) -> int:
        return client.get("/v1/taxa", headers={"Authorization": f"Bearer {token}"}).status_code

    assert [status(old), status(old)] == [200, 200]
    new = add_key(file, "app, next")
    remove_key(file, old.split("_")[1])
    now_s = 1.0
    assert [status(old), status(new)] == [401, 200]


@pytest.mark.parametrize(("has_keys", "expected"), [(True, 401), (False, 200)])
def test_serve_tells_it_where_the_keys_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_keys: bool, expected: int
) -> None:
    add_key(tmp_path / "keys.json", "app")
    monkeypatch.setenv(KEYS, str(tmp_path / "keys.json") if has_keys else "")
    monkeypatch.setattr("uvicorn.protocols.http.auto.AutoHTTPProtocol", None)
    monkeypatch.setattr(LimitedProtocol, "limits", LimitedProtocol.limits)
    client = TestClient(Starlette(routes=[Mount("/", _yes)], middleware=middlewares()))
    assert client.get("/v1/taxa").status_code == expected


def test_serve_takes_no_orders_from_headers_and_sees_none_that_it_cannot_read() -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(scope["headers"])
        await Response(b"{}")(scope, receive, send)

    orders = (b"x-request-timeout-seconds", b"X-Request-Disconnect-Disabled", b"serve_multiplexed_model_id")
    headers = [(b"accept", b"*/*"), *((it, b"9") for it in orders), (b"x-request-id", b"\xff"), (b"cookie", b"a\xff")]
    _asked(Front(look), [], [*headers, (b"authorization", "Bearer \u00e9".encode())])
    assert [name for name, _ in seen] == [b"accept", b"authorization"]


def test_what_serve_fails_with_is_a_problem(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("of the proxy")

    response = TestClient(Front(fail, most=1)).post("/", headers={"X-Request-ID": "seven"})
    assert (response.status_code, response.json()["title"]) == (500, "The server failed")
    assert response.headers["x-request-id"] == "seven"
    assert "of the proxy" in caplog.text
    assert "of the proxy" not in response.text


def test_serve_finds_it_by_its_name() -> None:
    assert pkgutil.resolve_name(CALLBACK) is middlewares

"""What Serve's proxy says by itself, in the form of all other problems."""

import pkgutil

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from trygon_serving.front import CALLBACK, Front, middlewares
from trygon_serving.problem import PROBLEM_TYPE


def _client(response: Response) -> TestClient:
    async def answer(request: Request) -> Response:
        return response

    return TestClient(Front(Starlette(routes=[Route("/", answer)])))


@pytest.mark.parametrize(("said", "status"), [(503, 503), (500, 503), (404, 503), (408, 504)])
def test_plain_words_of_serve_become_a_problem_with_a_time_to_come_back(said: int, status: int) -> None:
    plain = PlainTextResponse("Request dropped due to backpressure", said, {"X-Request-ID": "seven"})
    response = _client(plain).get("/")
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
    """A replica that died with the request."""

    async def say_nothing(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    response = TestClient(Front(say_nothing)).get("/", headers={"X-Request-ID": "seven"})
    assert response.status_code == response.json()["status"] == 503
    assert response.headers["retry-after"]
    assert response.headers["x-request-id"] == "seven"


def test_a_request_has_the_name_that_the_application_gave_it() -> None:
    answer = Response(b"{}", 200)
    answer.raw_headers += [(b"x-request-id", b"ours"), (b"X-Request-ID", b"serves")]
    assert _client(answer).get("/").headers.get_list("x-request-id") == ["ours"]


def test_serve_finds_it_by_its_name() -> None:
    assert pkgutil.resolve_name(CALLBACK) is middlewares

"""The review as a web application: pages and pictures to one person's browsers, their words to the desk.

Whoever opens it has to know the token, which the first address holds and a cookie keeps. Requests under other names
than the loopback's are refused, so that no page of the network's can talk to it. Knows nothing of a run's files.
"""

import hashlib
import hmac
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from trygon.archive.run_folder.search import Filters, RunSearch
from trygon.errors import TrygonError, UserError
from trygon.labelling.decisions import TYPES
from trygon.review.desk import LIFE_STAGES, SEXES, Desk, Overtaken, Refused, Word
from trygon.review.pictures import Pictures
from trygon.review.queue import View
from trygon.taxonomy.taxon import RANKS

_PAGE = Path(__file__).parent / "page"
_STATIC = {
    "/": ("index.html", "text/html"),
    "/review.js": ("review.js", "text/javascript"),
    "/review.css": ("review.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_MOST_BODY = 256 << 10
_MOST_IDS = 2000
_MOST_ALIKE = 60
_MOST_COUNT = 10_000
_LARGEST = 2**63 - 1
_NAMES = {"127.0.0.1", "localhost", "[::1]"}


@dataclass(frozen=True)
class About:
    """What the page says of the run, and who reviews unless they say otherwise."""

    title: str
    reviewer: str
    num_label_taxa: int


@dataclass(frozen=True)
class ReviewParts:
    """What the application works with. `search` opens the run's vectors; it takes its time and may fail."""

    desk: Desk
    pictures: Pictures
    search: Callable[[], RunSearch]
    about: About


class Guard:
    """Lets in who knows the token, under the names of this machine alone."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token, self._cookie = app, token, f"trygon-review-{port}"
        self._hosts = {f"{name}:{port}" for name in _NAMES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request = Request(scope, receive)
        return await (self._refusal(request) or self._app)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if host not in self._hosts:
            return _problem(421, "this server answers as 127.0.0.1 and localhost only")
        if request.headers.get("origin") not in (None, f"http://{host}"):
            return _problem(403, "pages of other sites may not ask")
        if request.method == "GET" and request.url.path == "/" and self._is_token(request.query_params.get("token")):
            answer = RedirectResponse("/", 303, headers=_HEADERS)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return answer
        if not self._is_token(request.cookies.get(self._cookie)):
            return _problem(403, "open the whole address that `trygon review` printed, with its token")
        return None

    def _is_token(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), self._token.encode())


def application(parts: ReviewParts, token: str, port: int) -> ASGIApp:
    """The whole application, behind its guard."""
    api = _Api(parts)
    routes = [Route(path, _static(*file)) for path, file in _STATIC.items()]
    routes += [
        Route("/api/run", _answer(api.run)),
        Route("/api/events", _answer(api.events)),
        Route("/api/events/{id:int}", _answer(api.event)),
        Route("/api/taxa", _answer(api.taxa)),
        Route("/api/alike/{id:int}", _answer(api.alike)),
        Route("/api/reviews", _answer(api.review), methods=["POST"]),
        Route("/api/undo", _answer(api.undo), methods=["POST"]),
        Route("/frames/{id:int}.jpg", _answer(api.frame)),
        Route("/crops/{id:int}.jpg", _answer(api.crop)),
    ]
    return Guard(Starlette(routes=routes), token, port)


@dataclass(frozen=True)
class _Asked:
    """A request as the API needs it: what its path and query hold, and its JSON body."""

    id: int
    query: dict[str, str]
    body: dict[str, Any]
    etag: str
    """Of the picture that the browser has."""


_Endpoint = Callable[[Request], Awaitable[Response]]


def _answer(function: Callable[[_Asked], Any]) -> _Endpoint:
    """A request to a function that runs in a thread; what it refuses becomes a problem with one line."""

    async def endpoint(request: Request) -> Response:
        try:
            body = await _body(request) if request.method == "POST" else {}
            id_, etag = request.path_params.get("id", 0), request.headers.get("if-none-match", "")
            asked = _Asked(min(id_, _LARGEST), dict(request.query_params), body, etag)
            result = await run_in_threadpool(function, asked)
        except Overtaken as error:
            return _problem(409, str(error))
        except (Refused, UserError) as error:
            return _problem(422, str(error))
        except (LookupError, OSError):
            return _problem(404, "there is no such picture, it cannot be read, or it is withheld")
        except TrygonError as error:
            return _problem(503, str(error))
        return result if isinstance(result, Response) else JSONResponse(result, headers=_HEADERS)

    return endpoint


async def _body(request: Request) -> dict[str, Any]:
    if request.headers.get("content-type", "").split(";")[0] != "application/json":
        raise Refused("JSON is expected")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MOST_BODY:
            raise Refused("this is too much at once")
    try:
        body = json.loads(data)
    except ValueError as error:
        raise Refused("this is no JSON") from error
    if not isinstance(body, dict):
        raise Refused("a JSON object is expected")
    return body


def _static(name: str, kind: str) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        return Response((_PAGE / name).read_bytes(), media_type=kind, headers=_HEADERS)

    return endpoint


def _problem(status: int, text: str) -> Response:
    return JSONResponse({"problem": text}, status, headers=_HEADERS)


class _Api:
    def __init__(self, parts: ReviewParts) -> None:
        self._desk, self._pictures, self._about = parts.desk, parts.pictures, parts.about
        self._open_search, self._search = parts.search, None
        self._mutex = threading.Lock()

    def run(self, asked: _Asked) -> dict[str, Any]:
        deployments = self._desk.columns.events["deployment"].unique().to_pylist()
        return {
            "title": self._about.title,
            "reviewer": self._about.reviewer,
            "num_taxa": self._about.num_label_taxa,
            "names": self._desk.names(),
            "deployments": sorted(deployments),
            "types": TYPES,
        } | self._desk.progress()

    def events(self, asked: _Asked) -> dict[str, Any]:
        query = asked.query
        view = View(
            state=query.get("state", "unreviewed"),
            label=int(_number(query["label"], 0, 2**31)) if query.get("label") else None,
            deployment=query.get("deployment", ""),
            sure=_number(query.get("sure", "1"), 0, 1),
            order=query.get("order", "time"),
        )
        after = int(_number(query.get("after", "-1"), -1, 2**53))
        limit = int(_number(query.get("limit", "10"), 1, 100))
        return self._desk.page(view, after, limit, query.get("back") == "1")

    def event(self, asked: _Asked) -> dict[str, Any]:
        return self._desk.event(asked.id, int(_number(asked.query.get("first", "0"), 0, 2**31)))

    def taxa(self, asked: _Asked) -> list[dict[str, Any]]:
        return self._desk.taxa.find(asked.query.get("q", ""))

    def frame(self, asked: _Asked) -> Response:
        width = int(_number(asked.query.get("width", "960"), 1, 10_000))
        number = int(_number(asked.query["number"], 0, 2**31)) if "number" in asked.query else None
        return _jpeg(asked, self._pictures.frame(asked.id, width, number))

    def crop(self, asked: _Asked) -> Response:
        return _jpeg(asked, self._pictures.crop(asked.id))

    def alike(self, asked: _Asked) -> list[dict[str, Any]]:
        """Observations of other events that look like one, best first."""
        with self._mutex:
            if self._search is None:
                self._search = self._open_search()
            search = self._search
        hits = search.nearest(search.vector_of(asked.id), 4 * _MOST_ALIKE, search.allowed(Filters()))
        others = self._desk.told([hit.observation_id for hit in hits], but_event_of=asked.id)
        cosines = {str(hit.observation_id): hit.cosine for hit in hits}
        return [other | {"cosine": cosines[other["id"]]} for other in others[:_MOST_ALIKE]]

    def review(self, asked: _Asked) -> dict[str, Any]:
        body, desk = asked.body, self._desk
        by = _text(body, "by") or self._about.reviewer
        if "observations" in body:
            word = desk.word_of(_id(body["as"]), by) if "as" in body else self._word(body, by)
            shown = (_id(body["event"]), _text(body, "version")) if "event" in body else None
            said = desk.name_some(_ids(body["observations"]), word, shown)
        elif body.get("confirm"):
            said = desk.confirm(_id(body.get("event")), by, _text(body, "version"))
        else:
            said = desk.name_event(_id(body.get("event")), self._word(body, by), _text(body, "version"))
        return {"reviews": [row["review_id"] for row in said]} | desk.progress()

    def undo(self, asked: _Asked) -> dict[str, Any]:
        wanted = asked.body.get("reviews")
        if not isinstance(wanted, list) or len(wanted) > _MOST_IDS:
            raise Refused("reviews is a list of ids")
        undone = self._desk.undo([str(one) for one in wanted], _text(asked.body, "by") or self._about.reviewer)
        return {"events": sorted({str(row["event_id"]) for row in undone})} | self._desk.progress()

    def _word(self, body: dict[str, Any], by: str) -> Word:
        kind, key = _text(body, "type"), _text(body, "taxon")
        if kind not in TYPES:
            raise Refused(f"type is one of {', '.join(TYPES)}")
        taxon = self._desk.taxa.taxon(key) if key else None
        if key and (taxon is None or kind != "animal"):
            raise Refused("the labels hold no such taxon")
        names = None
        if taxon:
            lineage = {rank: name or None for rank, name in zip(RANKS, taxon.lineage, strict=True)}
            names = lineage | {"rank": str(taxon.rank), "scientific": taxon.scientific, "common": taxon.common or None}
        count = body.get("count")
        if count is not None and not (isinstance(count, int) and 1 <= count <= _MOST_COUNT):
            raise Refused(f"count is a number from 1 to {_MOST_COUNT}")
        return Word(by, kind, names, count, _one_of(body, "life_stage", LIFE_STAGES), _one_of(body, "sex", SEXES))


def _jpeg(asked: _Asked, data: bytes) -> Response:
    """A picture, which the browser asks for again each time: somebody may have said since that it shows a person."""
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = _HEADERS | {"Cache-Control": "private, no-cache", "ETag": etag}
    if asked.etag == etag:
        return Response(status_code=304, headers=headers)
    return Response(data, 200, headers, "image/jpeg")


def _number(text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise Refused(f"{text[:40]!r} is no number") from error
    if not least <= value <= most:
        raise Refused(f"{text[:40]} is not between {least} and {most}")
    return value


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name) or ""
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise Refused(f"{name} is a short text")
    return value.strip()


def _one_of(body: dict[str, Any], name: str, known: tuple[str, ...]) -> str | None:
    value = _text(body, name)
    if value and value not in known:
        raise Refused(f"{name} is one of {', '.join(known)}")
    return value or None


def _id(value: Any) -> int:
    """An id: the page has them as texts, for its numbers are not exact enough."""
    if not isinstance(value, str) or not value.isdecimal() or len(value) > 19 or int(value) > _LARGEST:
        raise Refused("an id is a number as text")
    return int(value)


def _ids(values: Any) -> list[int]:
    if not isinstance(values, list) or not 1 <= len(values) <= _MOST_IDS:
        raise Refused(f"observations is a list of 1 to {_MOST_IDS} ids")
    return [_id(value) for value in values]

"""The HTTP interface: which path asks for what. Knows nothing of Ray: any ASGI server can run it."""

import asyncio
import pathlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from trygon.taxonomy.taxon import Rank
from trygon_serving import manual, taxa, wire
from trygon_serving.body import FIELD, Body, read_body
from trygon_serving.gate import OPEN_PATHS, Gate, declared_bytes
from trygon_serving.metrics import CONTENT_TYPE
from trygon_serving.problem import PROBLEM_TYPE, Problem, ProblemDocument
from trygon_serving.service import Service
from trygon_serving.wire import MAX_NAME_CHARACTERS, MAX_PAGE

_PAGE = (pathlib.Path(__file__).parent / "page" / "index.html").read_text()
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_PICTURE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",  # no other site shows it, or learns that it is there
    "X-Content-Type-Options": "nosniff",
    # By nobody between: who has no key has no picture.
    "Cache-Control": "private, max-age=3600",
    "Vary": "Authorization",
}

_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}
_PROBLEM = {
    "description": "A problem (RFC 9457)",
    "content": {PROBLEM_TYPE: {"schema": ProblemDocument.model_json_schema()}},
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {"4XX": _PROBLEM, "5XX": _PROBLEM}
_KEY = "key"
"""What the OpenAPI document calls the way in which a key is sent."""


def _bodies(options: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The forms in which images come, for the OpenAPI document: FastAPI does not read these bodies."""
    binary = {"type": "string", "format": "binary"}
    form = {FIELD: {"type": "array", "items": binary, "minItems": 1}, **options}
    schemas = {
        "multipart/form-data": {"type": "object", "properties": form, "required": [FIELD]},
        "application/json": body,
        "image/jpeg": binary,
        "image/png": binary,
        "image/webp": binary,
    }
    content = {content_type: {"schema": schema} for content_type, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}


_CLASSIFY = _bodies(wire.Options.model_json_schema()["properties"], wire.ClassifyBody.model_json_schema())
_SIMILAR = _bodies(wire.SimilarOptions.model_json_schema()["properties"], wire.SimilarBody.model_json_schema())
_EMBED = _bodies(wire.EmbedOptions.model_json_schema()["properties"], wire.EmbedBody.model_json_schema())

router = APIRouter(responses=_PROBLEMS)


async def _service(request: Request) -> Service:
    """(Were it no coroutine, FastAPI would call it in a thread.)"""
    return request.app.state.service


Serving = Annotated[Service, Depends(_service)]
Chosen = TypeVar("Chosen", bound=BaseModel)


def _all_of(options: Chosen, body: Body) -> Chosen:
    """The options of the query with those of the body. `Problem` 422."""
    given = options.model_dump(exclude_unset=True) | dict(body.options)
    try:
        return type(options).model_validate(given, strict=body.typed)
    except ValidationError as error:
        raise _invalid(error.errors()[0]) from error


@asynccontextmanager
async def _body_of(request: Request, service: Service) -> AsyncIterator[Body]:
    """What a request brings, within all limits, for as long as it is held."""
    with service.admission.body(declared_bytes(request.scope)) as take:
        yield await read_body(request, service.limits, take)


@router.post("/v1/classify", openapi_extra=_CLASSIFY)
async def classify(
    request: Request, service: Serving, options: Annotated[wire.Options, Query()]
) -> wire.Classification:
    """What is on the images: files `image` of a form, base64 in JSON, or one image as the body itself.

    Options stand in the query, in fields of the form or in the JSON.
    """
    async with _body_of(request, service) as body:
        return await service.classify(body.images, _all_of(options, body))


@router.post("/v1/similar", openapi_extra=_SIMILAR)
async def similar(
    request: Request, service: Serving, options: Annotated[wire.SimilarOptions, Query()]
) -> wire.SimilarReply:
    """What looks most like the images, which come as for `/v1/classify`: observations of a labelling run, or pictures
    of a gallery.

    Send crops of animals, as closely cut as detections are.
    """
    async with _body_of(request, service) as body:
        return await service.similar(body.images, _all_of(options, body))


@router.get("/v1/runs")
async def runs(service: Serving) -> list[wire.RunCard]:
    """The runs that `/v1/similar` can search in."""
    return list(service.runs.cards())


@router.get("/v1/galleries")
async def galleries(service: Serving) -> list[wire.GalleryCard]:
    """The galleries that `/v1/similar` can search in."""
    return list(service.galleries.cards())


@router.get("/v1/galleries/{gallery}/{picture}.jpg", response_class=Response, responses=_PICTURE)
async def picture(
    service: Serving,
    gallery: Annotated[str, Path(description="a gallery of `/v1/galleries`")],
    picture: Annotated[str, Path(description="a picture's number, as `/v1/similar` tells its path")],
) -> Response:
    """A small copy of a gallery's picture. Show its author and licence, which `/v1/similar` tells, with it."""
    data = await asyncio.to_thread(service.galleries.picture, gallery, picture)
    return Response(data, media_type="image/jpeg", headers=_PICTURE_HEADERS)


@router.post("/v1/embed", openapi_extra=_EMBED)
async def embed(request: Request, service: Serving, options: Annotated[wire.EmbedOptions, Query()]) -> wire.Embeddings:
    """The model's unit vectors of the images, which come as for `/v1/classify`."""
    async with _body_of(request, service) as body:
        return await service.embed(body.images, _all_of(options, body))


@router.get("/v1/taxa")
async def list_taxa(
    service: Serving,
    model: Annotated[
        str | None, Query(max_length=MAX_NAME_CHARACTERS, description="a model, or MODEL/VERSION")
    ] = None,
    labels: Annotated[str | None, Query(max_length=MAX_NAME_CHARACTERS, description="a label set")] = None,
    under: Annotated[
        str, Query(max_length=8 * MAX_NAME_CHARACTERS, description="the clades right below this name or path")
    ] = "",
    search: Annotated[
        str, Query(max_length=MAX_NAME_CHARACTERS, description="a part of a scientific or common name instead")
    ] = "",
    rank: Annotated[wire.RankName | None, Query(description="of a search: only this rank")] = None,
    offset: Annotated[int, Query(ge=0, le=100_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> wire.TaxaPage:
    """The tree of a label set, a page at a time: what lies below a clade (the kingdoms for none), or a search."""
    chosen = service.models.choose(model, labels, steady=True).sets.get(labels)
    tree = chosen.bank.tree

    def page() -> wire.TaxaPage:
        if search.strip():
            found = taxa.search(tree, search, None if rank is None else Rank[rank.upper()])
        else:
            found = taxa.children(tree, under)
        return taxa.page_of(tree, found, chosen.name, offset, limit)

    return await service.lookups.run(page)


@router.get("/v1/models")
async def models(service: Serving) -> list[wire.ServedModel]:
    """What is served: each model in its versions."""
    return list(service.models.cards())


@router.get("/v1/label-sets")
async def label_sets(service: Serving) -> wire.LabelSetList:
    """The label sets and checklists that a request can name."""
    return service.models.label_sets()


@router.get("/healthz")
async def live() -> wire.Status:
    """The process answers."""
    return wire.Status(status="live")


@router.get("/readyz")
async def ready(service: Serving) -> wire.Status:
    """An image would get an answer now; 503 otherwise."""
    await service.models.require_ready()
    return wire.Status(status="ready")


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: Serving) -> Response:
    """Figures of this process, and of the Triton that was started with it, for Prometheus."""
    return Response(await service.figures(), media_type=CONTENT_TYPE)


@router.get("/", include_in_schema=False)
async def page() -> HTMLResponse:
    """The page: drop a photo, see its lineage."""
    return HTMLResponse(_PAGE, headers=_PAGE_HEADERS)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """The interface in words."""
    return HTMLResponse(manual.render(request.app.openapi()), headers=_PAGE_HEADERS)


class _DescribedWithKeys(FastAPI):
    """An application that says in its description which paths need a key: generated clients then send one."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        document = super().openapi()
        document["components"]["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer"}}
        for path, operations in document["paths"].items():
            if path not in OPEN_PATHS:
                for operation in operations.values():
                    operation["security"] = [{_KEY: []}]
        return document


def make_api(service: Service) -> FastAPI:
    """The application around a service. What the service does beside requests runs as long as the application."""

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        await service.supply.start()
        beside = asyncio.create_task(service.supply.watch())
        yield
        beside.cancel()
        with suppress(asyncio.CancelledError):
            await beside
        await service.supply.close()
        if service.traces:
            await asyncio.to_thread(service.traces.close)

    described = _DescribedWithKeys if service.keys else FastAPI
    # FastAPI's own pages of the documentation load scripts from elsewhere.
    api = described(title="trygon", version="1", docs_url=None, redoc_url=None, lifespan=lifespan)
    api.state.service = service
    api.include_router(router)
    api.add_exception_handler(Problem, _problem)
    api.add_exception_handler(HTTPException, _problem)
    api.add_exception_handler(RequestValidationError, _problem)
    api.add_middleware(
        Gate,
        limits=service.limits,
        keys=service.keys,
        metrics=service.metrics,
        traces=service.traces,
        hosts=service.args.hosts,
    )
    return api


async def _problem(request: Request, error: Exception) -> Response:
    """Everything that goes wrong, in one form."""
    more: dict[str, str] = {}
    match error:
        case Problem():
            problem = error
        case HTTPException():
            problem = Problem(error.status_code, str(error.detail), f"{request.method} {request.url.path}")
            more = dict(error.headers or {})
        case RequestValidationError():
            problem = _invalid(error.errors()[0])
        case _:
            raise error
    return Response(problem.body, problem.status, more | problem.headers, media_type=PROBLEM_TYPE)


def _invalid(first: Any) -> Problem:
    where = ".".join(str(part) for part in first["loc"] if part not in ("query", "body"))
    return Problem(422, "The request is not valid", f"{where}: {first['msg']}")

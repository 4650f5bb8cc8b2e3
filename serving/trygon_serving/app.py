"""The online classifier: one Ray Serve deployment that decodes, asks Triton for the vector, and names it.

Triton batches, Serve does not. Image work and products run in threads, so that the event loop stays free.
"""

import asyncio
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve.config import BackpressureConfig
from starlette.exceptions import HTTPException

from trygon.data.images import BadImage, preprocess
from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.models.folder import ImageTower
from trygon_serving.body import read_image
from trygon_serving.triton import TritonEncoder
from trygon_serving.wire import (
    PROBLEM_TYPE,
    STATUS_OF_REASON,
    Classification,
    Problem,
    Served,
    classification,
    served,
)

DEADLINE_S = 15.0
"""From the whole body to the answer."""

_PAGE = (Path(__file__).parent / "page" / "index.html").read_text()
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class AppArgs(BaseModel):
    """The arguments of the application, as a RayService's `args` gives them."""

    model_config = ConfigDict(extra="forbid")

    labels: str
    """A LabelBank folder."""
    triton: str
    """HOST:PORT of Triton's gRPC."""
    model: str = ""
    """How the model is named in answers; by default as Triton's configuration names it."""


api = FastAPI(title="trygon", docs_url=None, redoc_url=None)  # their pages load scripts from elsewhere


# All that requests use stands before the class: `serve.ingress` copies the api, and what it refers to, as it is then.
@api.exception_handler(Problem)
async def _problem(request: Request, problem: Problem) -> Response:
    return JSONResponse(problem.body, problem.status, problem.headers, media_type=PROBLEM_TYPE)


@api.exception_handler(HTTPException)
async def _http_problem(request: Request, error: HTTPException) -> Response:
    problem = Problem(error.status_code, str(error.detail), f"{request.method} {request.url.path}")
    return JSONResponse(problem.body, problem.status, error.headers, media_type=PROBLEM_TYPE)


@api.exception_handler(RequestValidationError)
async def _query_problem(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    return await _problem(request, Problem(422, "The request is not valid", f"{first['loc'][-1]}: {first['msg']}"))


def _unusable(error: BadImage) -> Problem:
    status = STATUS_OF_REASON.get(error.reason, 422)
    return Problem(status, "The image cannot be used", str(error).replace("_", " "))


@serve.deployment(
    name="classifier",
    max_ongoing_requests=16,
    max_queued_requests=48,
    backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1),
    graceful_shutdown_wait_loop_s=0.5,
    graceful_shutdown_timeout_s=5,
)
@serve.ingress(api)
class ClassifierApp:
    """Answers requests with one LabelBank and the model behind one Triton."""

    def __init__(self, args: AppArgs) -> None:
        self.args = args
        self.bank = LabelBank.load(args.labels)
        self.classifier = Classifier(self.bank)
        self._encoder: TritonEncoder | None = None

    @property
    def encoder(self) -> TritonEncoder:
        """Made on first use: its channel belongs to the event loop of the requests."""
        if self._encoder is None:
            self._encoder = TritonEncoder(self.args.triton)
        return self._encoder

    async def tower(self) -> ImageTower:
        """The model behind Triton. Raises `Problem` 503 where it is not the one that the labels were made with."""
        tower = await self.encoder.tower()
        try:
            self.bank.require_model(tower)
        except UserError as error:
            raise Problem(503, "The labels do not fit the model", str(error)) from error
        return replace(tower, ref=self.args.model or tower.ref)

    @api.post("/v1/classify")
    async def classify(
        self,
        request: Request,
        k: Annotated[int, Query(ge=1, le=100, description="how many taxa `top` lists")] = 5,
        floor: Annotated[float, Query(ge=0, le=1, description="least probability of a rank that is named")] = 0.5,
    ) -> Classification:
        """What is on the image: `image` of a form, or the body itself."""
        data = await read_image(request)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._classify(data, k, floor)
        except TimeoutError as error:
            raise Problem(504, "No answer in time", f"within {DEADLINE_S:.0f} s", retry_after_s=2) from error

    async def _classify(self, data: bytes, k: int, floor: float) -> Classification:
        tower = await self.tower()
        marks = [time.perf_counter()]
        try:
            image_CHW = await asyncio.to_thread(preprocess, data, tower.side, tower.resize_mode)
        except BadImage as error:
            raise _unusable(error) from error
        marks.append(time.perf_counter())
        vector_BD = await self.encoder.encode(image_CHW, DEADLINE_S)
        marks.append(time.perf_counter())
        probability_BN = await asyncio.to_thread(self.classifier.probabilities, vector_BD)
        answer = replace(self.classifier, floor=floor, k=k).answers(probability_BN)[0]
        marks.append(time.perf_counter())
        spent = [1000 * (after - before) for before, after in pairwise(marks)]
        timings_ms = dict(zip(("decode", "encode", "classify"), spent, strict=True)) | {"total": sum(spent)}
        return classification(answer, floor, tower, self.bank, timings_ms)

    @api.get("/v1/models")
    async def models(self) -> list[Served]:
        """What is served."""
        return [served(await self.tower(), self.bank)]

    @api.get("/healthz")
    async def live(self) -> dict[str, str]:
        """The process answers."""
        return {"status": "live"}

    @api.get("/readyz")
    async def ready(self) -> dict[str, str]:
        """An image would get an answer now; 503 otherwise."""
        await self.tower()
        if not await self.encoder.is_ready():
            raise Problem(503, "The encoder is not available", retry_after_s=2)
        return {"status": "ready"}

    @api.get("/", include_in_schema=False)
    async def page(self) -> HTMLResponse:
        """The page: drop a photo, see its lineage."""
        return HTMLResponse(_PAGE, headers=_PAGE_HEADERS)


def build(args: AppArgs) -> serve.Application:
    """The application, for `serve.run` and for a RayService's `import_path: trygon_serving.app:build`."""
    return ClassifierApp.bind(AppArgs.model_validate(args))

"""A typed client of the online classifier, for programs: the classes of `trygon_serving.wire` come back.

    with Client("http://127.0.0.1:8000") as client:
        reply = client.classify(["fox.jpg"], clade=["Mammalia"])
        print(reply.answers[0].taxon)

Imports neither Ray nor torch.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from pydantic import TypeAdapter

from trygon_serving.problem import PROBLEM_TYPE, Problem, ProblemDocument
from trygon_serving.wire import (
    Classification,
    Embeddings,
    LabelSets,
    Options,
    RankName,
    RunCard,
    ServedModel,
    SimilarOptions,
    SimilarReply,
    TaxaPage,
)

Picture = bytes | str | Path
"""An encoded picture, or the path of its file."""

_MODELS, _RUNS = TypeAdapter(list[ServedModel]), TypeAdapter(list[RunCard])
_LONGEST_PAUSE_S = 30.0


class Client:
    """One server, over connections that are kept open."""

    def __init__(self, url: str, key: str | None = None, timeout_s: float = 60, attempts: int = 5) -> None:
        """`attempts`: how often a request is sent that the server has no room for yet (503, 429)."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        self._attempts = attempts

    def classify(self, pictures: Sequence[Picture], **options: Any) -> Classification:
        """What is on each picture. `options` are those of `trygon_serving.wire.Options`.

        Raises `Problem` where the server gives no answer, `ValidationError` for options that there are not.
        """
        chosen = Options(**options).model_dump(exclude_unset=True)
        reply = self._send("POST", "/v1/classify", files=_files(pictures), data=chosen)
        return Classification.model_validate_json(reply.content)

    def embed(self, pictures: Sequence[Picture]) -> Embeddings:
        """The model's unit vector of each picture. Raises `Problem`."""
        reply = self._send("POST", "/v1/embed", files=_files(pictures))
        return Embeddings.model_validate_json(reply.content)

    def similar(self, pictures: Sequence[Picture], **options: Any) -> SimilarReply:
        """What looks like each picture in a run. `options` are those of `trygon_serving.wire.SimilarOptions`.

        Raises `Problem`, and `ValidationError` for options that there are not.
        """
        chosen = SimilarOptions(**options).model_dump(mode="json", exclude_unset=True)
        reply = self._send("POST", "/v1/similar", files=_files(pictures), data=chosen)
        return SimilarReply.model_validate_json(reply.content)

    def children(self, under: str = "", labels: str | None = None, offset: int = 0, limit: int = 50) -> TaxaPage:
        """The clades right below one, or the kingdoms. Raises `Problem`."""
        return self._taxa({"under": under, "labels": labels, "offset": offset, "limit": limit})

    def search(
        self, text: str, rank: RankName | None = None, labels: str | None = None, offset: int = 0, limit: int = 50
    ) -> TaxaPage:
        """Clades whose scientific or common name holds a text. Raises `Problem`."""
        return self._taxa({"search": text, "rank": rank, "labels": labels, "offset": offset, "limit": limit})

    def models(self) -> list[ServedModel]:
        """What is served. Raises `Problem`."""
        return _MODELS.validate_json(self._send("GET", "/v1/models").content)

    def label_sets(self) -> LabelSets:
        """The label sets and checklists that `classify` can name. Raises `Problem`."""
        return LabelSets.model_validate_json(self._send("GET", "/v1/label-sets").content)

    def runs(self) -> list[RunCard]:
        """The runs that `similar` can search in. Raises `Problem`."""
        return _RUNS.validate_json(self._send("GET", "/v1/runs").content)

    def is_ready(self) -> bool:
        """Whether a picture would get an answer now."""
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _taxa(self, query: dict[str, Any]) -> TaxaPage:
        given = {name: value for name, value in query.items() if value is not None}
        return TaxaPage.model_validate_json(self._send("GET", "/v1/taxa", params=given).content)

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        for left in reversed(range(self._attempts)):
            response = self._http.request(method, path, **content)
            if response.is_success:
                return response
            pause = response.headers.get("retry-after", "")
            if not left or response.status_code not in (429, 503) or not pause.isdigit():
                raise _problem(response)
            time.sleep(min(float(pause), _LONGEST_PAUSE_S))
        raise ValueError("attempts has to be 1 or more")


def _files(pictures: Sequence[Picture]) -> list[tuple[str, tuple[str, bytes]]]:
    data = [it if isinstance(it, bytes) else Path(it).read_bytes() for it in pictures]
    return [("image", (f"{place}", each)) for place, each in enumerate(data)]


def _problem(response: httpx.Response) -> Problem:
    if response.headers.get("content-type", "").startswith(PROBLEM_TYPE):
        told = ProblemDocument.model_validate_json(response.content)
        return Problem(told.status, told.title, told.detail or "")
    return Problem(response.status_code, response.reason_phrase, response.text[:200])

"""A typed client of the online classifier, for programs: the classes of `trygon_serving.wire` come back.

    with Client("http://127.0.0.1:8000") as client:
        reply = client.classify(["fox.jpg"], clade=["Mammalia"])
        print(reply.answers[0].taxon)

A request that gets no answer raises `trygon_serving.problem.Problem`. Imports neither Ray nor torch.
"""

import ssl
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
    GalleryCard,
    LabelSetList,
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
_GALLERIES = TypeAdapter(list[GalleryCard])
_LONGEST_PAUSE_S = 60
"""A minute's requests come back within it; a day's do not, and are nothing to wait for."""
_RETRY_S = 1.0
"""Until a server is asked again that gave no answer, and so did not say when."""
_CERTIFICATE = "CERTIFICATE_VERIFY_FAILED"
"""What OpenSSL says of one that it does not trust: asking again changes nothing."""


class Client:
    """One server, over connections that are kept open."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        timeout_s: float = 60,
        attempts: int = 5,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """`url` is the server's own, like http://127.0.0.1:8000. `timeout_s`: how long one attempt waits for it.

        `attempts`: how often a request is sent that the server has no room for yet (503, 429) or did not end in time
        (504): after the time that it names, and not at all where that is over a minute. A server that cannot be
        reached, breaks off or says nothing within `timeout_s` is asked as often, after a second.

        `trust`: whose certificates are taken, in place of those that the system knows. For one that the server signed
        itself, `ssl.create_default_context(cafile="cert.pem")`.
        """
        if not url.lower().startswith(("http://", "https://")):
            raise ValueError(f"url {url!r}: give the server's address, like http://127.0.0.1:8000")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, verify=trust or True)
        self._attempts = attempts

    def classify(self, pictures: Sequence[Picture], **options: Any) -> Classification:
        """What is on each picture. `options` are those of `trygon_serving.wire.Options`.

        Raises `Problem` where the server refuses, or does not answer, and `ValidationError` for options that there are
        not.
        """
        chosen = Options(**options).model_dump(exclude_unset=True, exclude_none=True)
        reply = self._send("POST", "/v1/classify", files=_files(pictures), data=chosen)
        return Classification.model_validate_json(reply.content)

    def embed(self, pictures: Sequence[Picture], model: str | None = None) -> Embeddings:
        """The unit vector of each picture by a model of `models`, the first by default. Raises `Problem`."""
        chosen = {} if model is None else {"model": model}
        reply = self._send("POST", "/v1/embed", files=_files(pictures), data=chosen)
        return Embeddings.model_validate_json(reply.content)

    def similar(self, pictures: Sequence[Picture], **options: Any) -> SimilarReply:
        """What looks like each picture in a run or a gallery. `options`: `trygon_serving.wire.SimilarOptions`.

        Raises `Problem`, and `ValidationError` for options that there are not.
        """
        chosen = SimilarOptions(**options).model_dump(mode="json", exclude_unset=True, exclude_none=True)
        reply = self._send("POST", "/v1/similar", files=_files(pictures), data=chosen)
        return SimilarReply.model_validate_json(reply.content)

    def children(
        self, under: str = "", labels: str | None = None, offset: int = 0, limit: int = 50, model: str | None = None
    ) -> TaxaPage:
        """The clades right below one, or the kingdoms. Raises `Problem`."""
        return self._taxa({"under": under, "labels": labels, "offset": offset, "limit": limit, "model": model})

    def search(
        self,
        text: str,
        rank: RankName | None = None,
        labels: str | None = None,
        offset: int = 0,
        limit: int = 50,
        model: str | None = None,
    ) -> TaxaPage:
        """Clades whose scientific or common name holds a text. Raises `Problem`."""
        chosen = {"search": text, "rank": rank, "labels": labels, "model": model}
        return self._taxa(chosen | {"offset": offset, "limit": limit})

    def models(self) -> list[ServedModel]:
        """What is served: each model in its versions. Raises `Problem`."""
        return _MODELS.validate_json(self._send("GET", "/v1/models").content)

    def label_sets(self) -> LabelSetList:
        """The label sets and checklists that `classify` can name. Raises `Problem`."""
        return LabelSetList.model_validate_json(self._send("GET", "/v1/label-sets").content)

    def runs(self) -> list[RunCard]:
        """The runs that `similar` can search in. Raises `Problem`."""
        return _RUNS.validate_json(self._send("GET", "/v1/runs").content)

    def galleries(self) -> list[GalleryCard]:
        """The galleries that `similar` can search in. Raises `Problem`."""
        return _GALLERIES.validate_json(self._send("GET", "/v1/galleries").content)

    def picture(self, path: str) -> bytes:
        """The JPEG of a gallery's picture, by the `picture` of an answer. Raises `Problem`."""
        return self._send("GET", path).content

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
            try:
                response = self._http.request(method, path, **content)
            except httpx.TransportError as error:
                if not left or _CERTIFICATE in str(error):
                    raise self._silence(error) from error
                time.sleep(_RETRY_S)
                continue
            if response.is_success:
                return response
            problem = _problem(response)
            pause_s = problem.retry_after_s
            if not left or pause_s is None or pause_s > _LONGEST_PAUSE_S:
                raise problem
            time.sleep(pause_s)
        raise ValueError("attempts has to be 1 or more")

    def _silence(self, error: httpx.TransportError) -> Problem:
        """A server that gave no answer, as if it or a proxy had said so itself."""
        status = 504 if isinstance(error, httpx.TimeoutException) else 503
        where = self._http.base_url.netloc.decode()
        return Problem(status, "The server does not answer", f"{where}: {error or type(error).__name__}")


def _files(pictures: Sequence[Picture]) -> list[tuple[str, tuple[str, bytes]]]:
    data = [it if isinstance(it, bytes) else Path(it).read_bytes() for it in pictures]
    return [("image", (f"{place}", each)) for place, each in enumerate(data)]


def _problem(response: httpx.Response) -> Problem:
    pause = response.headers.get("retry-after", "")
    pause_s = int(pause) if pause.isdigit() else None
    if response.headers.get("content-type", "").startswith(PROBLEM_TYPE):
        told = ProblemDocument.model_validate_json(response.content)
        return Problem(told.status, told.title, told.detail or "", pause_s)
    return Problem(response.status_code, response.reason_phrase, response.text[:200], pause_s)

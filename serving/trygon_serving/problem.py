"""What goes wrong, as RFC 9457 puts it over HTTP."""

from pydantic import BaseModel

from trygon.limits import Limits

PROBLEM_TYPE = "application/problem+json"
FULL = "x-trygon-full"
"""The header by which a replica tells what stands before it that nobody gets in before another is answered."""
GONE = 499
"""What a request is counted as that nobody waited for."""


class ProblemDocument(BaseModel):
    """Why a request got no answer: `title` is the same for all of its kind, `detail` says what happened here."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """A request, or one of its images, that gets no answer."""

    def __init__(
        self, status: int, title: str, detail: str = "", retry_after_s: int | None = None, is_full: bool = False
    ) -> None:
        super().__init__(f"{title}: {detail}" if detail else title)
        self.status, self.title, self.detail, self.retry_after_s = status, title, detail, retry_after_s
        self.is_full = is_full

    @property
    def headers(self) -> dict[str, str]:
        """Headers beside the body."""
        more = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        more |= {FULL: "1"} if self.is_full else {}
        return more | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})

    @property
    def document(self) -> ProblemDocument:
        """The problem as it goes over the wire."""
        return ProblemDocument(title=self.title, status=self.status, detail=self.detail or None)

    @property
    def body(self) -> bytes:
        """The document as JSON, without what is not said."""
        return self.document.model_dump_json(exclude_none=True).encode()


def too_large(limits: Limits) -> Problem:
    """A body of more bytes than one may have."""
    return Problem(413, "The body is too large", f"at most {limits.body_bytes // 1_000_000} MB")

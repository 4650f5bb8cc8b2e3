"""The image out of a request's body: the body itself, or the `image` field of a form. Memory is limited."""

from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from trygon_serving.wire import MAX_BODY_BYTES, Problem

FIELD = "image"

_HOW = f"send a form with the file field `{FIELD}`, or the image itself as the body with Content-Type: image/jpeg"


async def read_image(request: Request) -> bytes:
    """The encoded image. Raises `Problem` 413, 415 or 422."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        raise _too_large()
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _read_form(request)
    if content_type.startswith("image/") or content_type == "application/octet-stream":
        return b"".join([chunk async for chunk in _limited(request)])
    raise Problem(415, "Not an image", f"Content-Type {content_type or 'is missing'}: {_HOW}")


async def _read_form(request: Request) -> bytes:
    try:
        form = await MultiPartParser(request.headers, _limited(request), max_files=1, max_fields=8).parse()
    except (MultiPartException, KeyError) as error:
        raise Problem(422, "The form cannot be read", f"{error}: {_HOW}") from error
    file = form.get(FIELD)
    if not isinstance(file, UploadFile):
        raise Problem(422, "The form has no image", _HOW)
    try:
        return await file.read()
    finally:
        await form.close()


async def _limited(request: Request) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        yield chunk


def _too_large() -> Problem:
    return Problem(413, "The body is too large", f"at most {MAX_BODY_BYTES // 1_000_000} MB")

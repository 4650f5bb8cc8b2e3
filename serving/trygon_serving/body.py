"""The images out of a request's body: the body itself, the files of a form, or base64 in JSON. Memory is limited.

With the images come the options that stand beside them: fields of the form, or members of the JSON.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from trygon.limits import Limits
from trygon_serving.gate import declared_bytes
from trygon_serving.problem import Problem, too_large
from trygon_serving.wire import MAX_CLADES, MAX_NAMES

FIELD = "image"
LISTS = ("clade", "names", "taxon", "deployment")
"""Options that a form may hold several times."""

_HOW = (
    f"send a form with file fields `{FIELD}`, JSON with base64 in `images`, or one image itself as the body with "
    "Content-Type: image/jpeg"
)
_MAX_FIELDS = MAX_NAMES + MAX_CLADES + 8
_MAX_FIELD_BYTES = 4096
_MOST_VALUES = 10_000


@dataclass(frozen=True)
class Body:
    """Encoded images, and the options beside them as they were written."""

    images: list[bytes]
    options: Mapping[str, Any] = field(default_factory=dict)
    typed: bool = False
    """Whether numbers among the options are numbers, as JSON has them, and not texts."""


async def read_body(request: Request, limits: Limits, take: Callable[[int], None]) -> Body:
    """What a request brings; `take` is told the size of each part that comes, and may refuse it.

    Raises `Problem` 408, 413, 415 or 422.
    """
    if declared_bytes(request.scope) > limits.body_bytes:
        raise too_large(limits)
    try:
        async with asyncio.timeout(limits.body_s):
            body = await _read(request, _limited(request, limits, take), limits)
    except TimeoutError as error:
        raise Problem(408, "The body did not arrive in time", f"within {limits.body_s:.0f} s") from error
    if not body.images:
        raise Problem(422, "There is no image", _HOW)
    if len(body.images) > limits.images:
        raise Problem(413, "Too many images", f"at most {limits.images} a request")
    return body


async def _read(request: Request, parts: AsyncGenerator[bytes, None], limits: Limits) -> Body:
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _read_form(request, parts, limits)
    if content_type == "application/json":
        data = await _read_all(parts)
        return await asyncio.to_thread(_parse_json, data, limits)
    if content_type.startswith("image/") or content_type == "application/octet-stream":
        return Body([await _read_all(parts)])
    raise Problem(415, "Not an image", f"Content-Type {content_type or 'is missing'}: {_HOW}")


async def _read_form(request: Request, parts: AsyncGenerator[bytes, None], limits: Limits) -> Body:
    parser = MultiPartParser(
        _form_headers(request),
        parts,
        max_files=limits.images,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    parser.spool_max_size = limits.body_bytes  # nothing is written to disk
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        if "Too many files" in str(error):
            raise Problem(413, "Too many images", f"at most {limits.images} a request") from error
        raise Problem(422, "The form cannot be read", f"{error}: {_HOW}") from error
    try:
        images = [await file.read() for file in form.getlist(FIELD) if isinstance(file, UploadFile)]
        return Body(images, _fields(form))
    finally:
        await form.close()


def _form_headers(request: Request) -> Headers:
    """Of the request's headers what its form is read by: the boundary. `Problem` 422 without one.

    A charset, which RFC 7578 does not have, would be looked up among Python's codecs: these remember each name that is
    none of theirs for ever, and some of them are no charsets.
    """
    _, parameters = parse_options_header(request.headers["content-type"])
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise Problem(422, "The form cannot be read", f"its Content-Type names no boundary: {_HOW}")
    quoted = boundary.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return Headers(raw=[(b"content-type", b'multipart/form-data; boundary="%s"' % quoted)])


def _fields(form: FormData) -> dict[str, Any]:
    """The options of a form; those of `LISTS` may stand in several fields, or in the lines of one."""
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != FIELD:
                raise Problem(422, "The form cannot be read", f"the file field {name!r} is not known: {_HOW}")
        elif name in LISTS:
            lines = fields.setdefault(name, [])
            if len(lines) <= MAX_NAMES:  # else there are too many already: a form has room for millions
                lines += [line for line in value.splitlines() if line.strip()]
        else:
            fields[name] = value
    return fields


def _parse_json(data: bytes, limits: Limits) -> Body:
    # Outside of base64, which has none of these: each is an object in memory, many times the size of its text.
    if sum(map(data.count, (b"{", b"[", b","))) > _MOST_VALUES:
        raise Problem(413, "The JSON has too many values", f"at most {_MOST_VALUES}, images apart")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Problem(422, "The JSON cannot be read", str(error)) from error
    images = content.pop("images", None) if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise Problem(422, "The JSON cannot be read", 'it is {"images": [base64, …], …options}')
    if len(images) > limits.images:
        raise Problem(413, "Too many images", f"at most {limits.images} a request")
    return Body([_decoded(place, text) for place, text in enumerate(images)], content, typed=True)


def _decoded(place: int, text: object) -> bytes:
    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise Problem(422, "The JSON cannot be read", f"images[{place}] is not base64")


async def _read_all(parts: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([chunk async for chunk in parts])


async def _limited(request: Request, limits: Limits, take: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limits.body_bytes:
            raise too_large(limits)
        take(len(chunk))
        yield chunk

"""The interface in words: the OpenAPI document as one page that loads nothing. Knows nothing of what is behind it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

_PAGES = Environment(loader=FileSystemLoader(Path(__file__).parent / "page"), autoescape=True, trim_blocks=True)
_FORM, _JSON = "multipart/form-data", "application/json"
_LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} of them",
}
_REFUSALS = {
    401: "no key, or one that is not known here",
    413: "a body that is too large, too many images, or an image of too many pixels",
    415: "not a picture, or of a format that is not read: send JPEG, PNG or WebP",
    422: "an image that is empty or damaged, or an option that is unknown, out of range, or names what is not there",
    429: "more requests than the key may send; `Retry-After` says in how many seconds there are more",
    503: "the server starts, or has no room now; ask again after the seconds of `Retry-After`, which is safe",
    504: "no answer in time; `Retry-After` is there, too",
}
"""Statuses that a client has to know, with when they come."""


@dataclass(frozen=True)
class Field:
    """A parameter, a field of a form, or a member of an answer."""

    name: str
    kind: str
    limits: str
    description: str


@dataclass(frozen=True)
class Operation:
    """A path with its method: what goes in, in which forms, and what comes back."""

    method: str
    path: str
    description: str
    parameters: list[Field]
    bodies: list[str]
    files: list[str]
    answer: str
    needs_key: bool


def render(document: Mapping[str, Any]) -> str:
    """The page of an OpenAPI document."""
    schemas = document["components"]["schemas"]
    operations = [
        _operation(path, method, about)
        for path, methods in document["paths"].items()
        for method, about in methods.items()
    ]
    answers = {name: _fields(schema) for name, schema in schemas.items() if schema.get("properties")}
    told = {name: schemas[name].get("description", "") for name in answers}
    info = document["info"]
    return _PAGES.get_template("manual.html.jinja").render(
        title=info["title"],
        version=info["version"],
        operations=operations,
        answers=answers,
        told=told,
        open_paths=[it.path for it in operations if not it.needs_key],
        asks_for_keys=any(it.needs_key for it in operations),
        refusals=_REFUSALS,
    )


def _operation(path: str, method: str, about: Mapping[str, Any]) -> Operation:
    content = about.get("requestBody", {}).get("content", {})
    form = content.get(_FORM, {}).get("schema", {})
    files = form.get("required", [])
    parameters = [_field(it["name"], it["schema"], it.get("description", "")) for it in about.get("parameters", [])]
    answers = about["responses"]["200"].get("content", {})
    answer = _kind(answers[_JSON]["schema"]) if _JSON in answers else ", ".join(answers)
    description, needs_key = about.get("description", ""), bool(about.get("security"))
    return Operation(method.upper(), path, description, parameters, list(content), files, answer, needs_key)


def _fields(schema: Mapping[str, Any]) -> list[Field]:
    return [_field(name, it, it.get("description", "")) for name, it in schema["properties"].items()]


def _field(name: str, schema: Mapping[str, Any], description: str) -> Field:
    given = [*schema.get("anyOf", []), schema]
    limits = [text.format(it[key]) for it in given for key, text in _LIMITS.items() if key in it]
    if schema.get("default") not in (None, "", [], {}):
        limits.append(f"{schema['default']} by default")
    return Field(name, _kind(schema), ", ".join(limits), description)


def _kind(schema: Mapping[str, Any]) -> str:
    """What a value is, in a few words; the name of a class as it is."""
    if "$ref" in schema:
        return schema["$ref"].rsplit("/", 1)[-1]
    if "anyOf" in schema:
        return " or ".join(_kind(it) for it in schema["anyOf"] if it.get("type") != "null")
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"{_kind(schema['additionalProperties'])} by name"
    return "text" if schema.get("type", "string") == "string" else schema["type"]


def _with_code(text: str) -> Markup:
    """Text in which words between backticks stand as code, and lines end where paragraphs do."""
    paragraphs = re.sub(r"(?<!\n)\n(?!\n)", " ", text)
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(paragraphs))))  # what came in is escaped


_PAGES.filters["with_code"] = _with_code

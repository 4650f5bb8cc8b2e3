"""The reference page, made from the code: every setting of every job, every table that trygon writes.

python -m trygon_jobs.reference > docs/reference.md
"""

import typing
from collections.abc import Iterator
from enum import StrEnum
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import UnionType
from typing import Any

import pyarrow as pa
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import trygon.schemas
from trygon_jobs.cli import JOBS
from trygon_jobs.config import IS_PLACE

_TABLES = {
    "SAMPLE": "samples, in shards",
    "REJECT": "rejects.parquet",
    "LISTED": "listing.parquet",
    "MEDIA": "media.parquet",
    "DEPLOYMENT": "deployments.parquet",
    "BOX": "detections.parquet",
    "DETECTION": "vectors/",
    "OBSERVATION": "observations.parquet",
    "EVENT": "events.parquet",
    "REPOOLED": "repooled.parquet",
    "FAILURE": "failures.parquet",
    "EXAMPLE": "examples.parquet",
    "GALLERY": "pictures.parquet, in a gallery",
    "REVIEW": "reviews/, a line of JSON each",
}
_TYPES: dict[type, str] = {Path: "path", str: "text", bool: "yes or no"}
_PLACE = "path or s3:// address"


def page() -> str:
    """The whole page, Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Reference"
    yield "\nMade by `python -m trygon_jobs.reference`: every setting, as a flag of its job (`--batch-size`), a key of"
    yield "its YAML config (`batch_size:`) or in the environment (`TRYGON_TRAIN_BATCH_SIZE`).\n"
    for job, help_text in JOBS.items():
        yield f"## trygon {job}\n\n{help_text}\n"
        yield from _settings(job)
    yield "## Tables\n\nParquet. Ranks not known are blank; ids are the same on every machine.\n"
    for name, where in _TABLES.items():
        yield from _columns(where, getattr(trygon.schemas, name))


def _settings(job: str) -> Iterator[str]:
    main = import_module(f"trygon_jobs.{job.replace('-', '_')}").main
    for parameter in signature(main).parameters.values():
        config = typing.get_args(parameter.annotation)[:1] or (parameter.annotation,)
        if isinstance(config[0], type) and issubclass(config[0], BaseModel):
            yield "| setting | type | default | what |\n|---|---|---|---|"
            yield from _rows(config[0])
            yield ""


def _rows(config: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _rows(field.annotation, f"{prefix}{name}.")
        else:
            text = " ".join((field.description or "").split()).replace("|", "\\|")
            kind = _PLACE if IS_PLACE in field.metadata else _type(field.annotation)
            yield f"| `{prefix}{name}` | {kind} | {_default(field)} | {text} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default
    if value in (None, "", (), {}):
        return ""
    return "`" + (", ".join(map(str, value)) if isinstance(value, tuple) else str(value)) + "`"


def _type(annotation: Any) -> str:
    parts = typing.get_args(annotation)
    match typing.get_origin(annotation):
        case None if issubclass(annotation, StrEnum):
            return " or ".join(f"`{member}`" for member in annotation)
        case None:
            return _TYPES.get(annotation) or annotation.__name__
        case origin if origin in (UnionType, typing.Union):
            return " or ".join(_type(part) for part in parts if part is not type(None))
        case typing.Annotated:
            return _PLACE if IS_PLACE in parts else _type(parts[0])
        case origin if origin is dict:
            return f"{_type(parts[1])} by name"
        case typing.Literal:
            return " or ".join(f"`{part}`" for part in parts)
        case _:
            return f"{_type(parts[0])}, any number"


def _columns(where: str, schema: pa.Schema) -> Iterator[str]:
    yield f"### {where}\n\n| column | type | blank |\n|---|---|---|"
    for field in schema:
        yield f"| `{field.name}` | {field.type} | {'may be' if field.nullable else 'never'} |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")

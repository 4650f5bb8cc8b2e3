"""What the configs of all jobs share."""

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

_URL = re.compile(r"[a-z][a-z0-9+]+:/")


def _at_home(value: Any) -> Any:
    """A path as text, with the user's home for ~: no shell has done so in a YAML file, or after an equals sign."""
    text = str(value) if isinstance(value, Path) else value
    return os.path.expanduser(text) if isinstance(text, str) else text


Ref = Annotated[str, BeforeValidator(_at_home)]
"""What may be a place or another name of something, as `hf-hub:` for a model."""


def _place(value: Any) -> Any:
    """As `_at_home`; a ValueError for an address that is none of S3, or has no bucket."""
    text = _at_home(value)
    if isinstance(text, str) and _URL.match(text):
        from trygon.errors import UserError
        from trygon.s3 import Address

        if not text.startswith("s3:"):
            raise ValueError("is a path on this machine or an s3:// address: mount the storage, or copy it")
        try:
            Address.parse(text)
        except UserError as error:
            raise ValueError(str(error)) from error
    return text


IS_PLACE = BeforeValidator(_place)
Place = Annotated[str, IS_PLACE]
"""Where files lie or shall lie: a path on this machine, or an s3:// address."""


def _time_zone(value: str) -> str:
    """A ValueError where there is no such zone."""
    from trygon.archive.inputs.zones import zone_of
    from trygon.errors import UserError

    try:
        zone_of(value)
    except UserError as error:
        raise ValueError(str(error)) from error
    return value


TimeZone = Annotated[str, AfterValidator(_time_zone)]
"""An offset such as +03:00, or a place of the IANA database such as Africa/Nairobi."""


class JobConfig(BaseModel):
    """A complete, frozen description of one job. Unknown keys are errors; field docstrings are the help texts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Without its flag a setting can be given where it comes first, or must be given as all before it: a word too
        many would be taken for whichever setting comes next."""
        is_word = True
        for number, field in enumerate(cls.model_fields.values()):
            is_word &= number == 0 or field.is_required()
            field.kw_only = not is_word

    @model_validator(mode="before")
    @classmethod
    def _paths(cls, values: dict[str, Any]) -> dict[str, Any]:
        """`Path` would take s3://bucket/x for the folder `s3:` and say nothing, and ~ for a folder's name."""
        names = [name for name, field in cls.model_fields.items() if field.annotation in (Path, Path | None)]
        paths = {name: str(values[name]) for name in names if values.get(name) is not None}
        for name, text in paths.items():
            if _URL.match(text):
                raise ValueError(f"{name} is a path on this machine, not a URL: mount the storage, or copy it")
        return values | {name: os.path.expanduser(text) for name, text in paths.items()}


def first_problem(error: ValidationError) -> str:
    """What is wrong with a config, in one line without secrets."""
    from trygon.s3 import told

    problem = error.errors()[0]
    if problem["type"] == "missing":
        missing = [it["loc"] for it in error.errors() if it["type"] == "missing"]
        flags = ("--" + ".".join(map(str, loc)).replace("_", "-") for loc in missing)
        return "give " + " and ".join(f"{flag} …" for flag in flags)
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    given = told(problem["input"]) if isinstance(problem["input"], str) else problem["input"]
    return f"{where}: {message} (given: {given!r})" if where else message

"""What the configs of all jobs share."""

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

_URL = re.compile(r"[a-z][a-z0-9+]+:/")


class JobConfig(BaseModel):
    """A complete, frozen description of one job. Unknown keys are errors; field docstrings are the help texts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _paths_are_no_urls(cls, values: dict[str, Any]) -> dict[str, Any]:
        """`Path` would take s3://bucket/x for the folder `s3:` and say nothing."""
        for name, field in cls.model_fields.items():
            if field.annotation in (Path, Path | None) and _URL.match(str(values.get(name, ""))):
                raise ValueError(f"{name} is a path on this machine, not a URL: mount the storage, or copy it")
        return values

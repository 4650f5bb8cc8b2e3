"""`trygon keys`: hands over to the serving package, which this one does not import."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from trygon_jobs.config import JobConfig


class KeysConfig(JobConfig):
    """A file of keys, and what to do with it."""

    file: Path
    """The file of hashes that `trygon serve --keys` reads; it need not be there yet."""
    add: str | None = Field(None, min_length=1, max_length=100)
    """Make a key for this user or app, and show it once."""
    remove: str | None = None
    """Take the key with this id out."""
    per_minute: int | None = Field(None, ge=1)
    """Requests a minute that the new key may send."""
    per_day: int | None = Field(None, ge=1)
    """Requests a day that the new key may send."""


def main(config: Annotated[KeysConfig, Parameter(name="*")]) -> None:
    """List the keys of a file, or add or remove one."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "trygon_serving.keys", json.dumps(config.model_dump(mode="json"))])

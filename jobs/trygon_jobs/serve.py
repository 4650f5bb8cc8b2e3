"""`trygon serve`: hands over to the serving package, which this one does not import."""

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import Field

from trygon_jobs.config import JobConfig


class ServeConfig(JobConfig):
    """What to serve, and where."""

    model: str
    """A model folder, on disk or at an s3:// address, or hf-hub:OWNER/NAME."""
    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    """LabelBanks made with that model by `trygon build-labels`: FOLDER, or NAME=FOLDER (repeat it). The first is taken
    where a request names none; a folder alone is called by its own name."""
    checklist: tuple[str, ...] = ()
    """Lists of names that the answers to a request can keep to, as NAME=FILE (repeat it); see `trygon label`."""
    run: tuple[str, ...] = ()
    """Run folders of `trygon label` with the same model, to find observations in that look like a picture: FOLDER, or
    NAME=FOLDER (repeat it)."""
    host: str = "127.0.0.1"
    """Address to listen on. All but loopback need --keys."""
    port: int = Field(8000, ge=1, le=65535)
    """Port to listen on."""
    triton: str | None = None
    """HOST:PORT of the gRPC of a running Triton; without it one is started here."""
    keys: Path | None = None
    """A file of API keys that `trygon keys` made; only they may ask then. It is read again when it changes."""
    tls_certificate: Path | None = None
    """A PEM file with the server's certificate: answer by HTTPS."""
    tls_key: Path | None = None
    """The certificate's key, as PEM."""
    log: Path | None = None
    """A file for the log of requests, a JSON object a line; without it, Ray's log of the replica."""


def main(config: Annotated[ServeConfig, Parameter(name="*")]) -> None:
    """Answer classification requests over HTTP, until Ctrl-C."""
    command = [sys.executable, "-m", "trygon_serving", json.dumps(_settings(config))]
    if "--debug" in sys.argv:
        command.append("--debug")
    sys.stdout.flush()
    # In place of this process, so that signals reach the launcher itself.
    os.execv(sys.executable, command)


def _settings(config: ServeConfig) -> dict[str, Any]:
    """What the serving package is told: places by the names that requests call them."""
    settings = config.model_dump(mode="json", exclude={"labels", "checklist", "run"})
    several = {"labels": ("labels", config.labels), "checklists": ("checklist", config.checklist)}
    several |= {"runs": ("run", config.run)}
    return settings | {field: _named(setting, values) for field, (setting, values) in several.items()}


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _named(setting: str, values: Sequence[str]) -> dict[str, str]:
    """NAME=PLACE, or a place alone, by name. `UserError` for a name that is there twice or is none."""
    from trygon.errors import UserError
    from trygon.storage import name_of

    places: dict[str, str] = {}
    for value in values:
        name, equals, place = value.partition("=")
        if not equals or "/" in name:
            name, place = name_of(value.rstrip("/")).split(".")[0], value
        if not _NAME.fullmatch(name):
            raise UserError(f"--{setting} {value}: {name!r} is no name; give NAME=PLACE, in letters, digits, . _ -")
        if name in places:
            raise UserError(f"--{setting} {value}: {name} is there twice; give each a name of its own, as NAME=PLACE")
        places[name] = place
    return places

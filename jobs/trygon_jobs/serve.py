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

from trygon.limits import Limits
from trygon_jobs.config import JobConfig


class ServeConfig(JobConfig):
    """What to serve, and where."""

    model: tuple[str, ...] = ()
    """A model folder, on disk or at an s3:// address, or hf-hub:OWNER/NAME; NAME=FOLDER for several (repeat it). The
    first is taken where a request names none; a folder alone is called by its own name."""
    labels: tuple[str, ...] = ()
    """LabelBanks made with these models by `trygon build-labels`: FOLDER, or NAME=FOLDER (repeat it). The first that
    was made with a model is taken where a request names none."""
    models: Path | None = None
    """A file of models in versions, instead of --model and --labels; `trygon models` writes it. It is read again when
    it changes."""
    checklist: tuple[str, ...] = ()
    """Lists of names that the answers to a request can keep to, as NAME=FILE (repeat it); see `trygon label`."""
    run: tuple[str, ...] = ()
    """Run folders of `trygon label` with the same model, to find observations in that look like a picture: FOLDER, or
    NAME=FOLDER (repeat it)."""
    gallery: tuple[str, ...] = ()
    """Galleries of `trygon build-gallery` with the same model, whose pictures are found by how much they look like one
    and shown as examples: FOLDER, or NAME=FOLDER (repeat it)."""
    host: str = "127.0.0.1"
    """Address to listen on. All but loopback need --keys."""
    port: int = Field(default=8000, ge=1, le=65535)
    """Port to listen on."""
    encoder: str = "torch"
    """What makes the vectors of --model: torch, or on CPUs openvino or openvino-int8, which `trygon export-model`
    makes; a folder elsewhere as NAME:FOLDER."""
    replicas: str = Field(default="1", pattern=r"^[1-9]\d?(\.\.[1-9]\d?)?$")
    """Processes that decode pictures and name what is on them: a number, or MIN..MAX, which follows the requests in
    work. All of them ask one Triton."""
    scale_up_s: float = Field(default=30, ge=0, le=3600)
    """Of MIN..MAX: seconds for which more requests have to be in work before another process starts."""
    scale_down_s: float = Field(default=600, ge=0, le=86_400)
    """Of MIN..MAX: seconds for which fewer have to be in work before one ends. It answers what it has."""
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
    traces: str | None = None
    """Where OpenTelemetry's traces of requests go: the address of an OTLP receiver, like http://127.0.0.1:4318."""
    limits: Limits = Limits()
    """What requests may ask for, and hold."""


def main(config: Annotated[ServeConfig, Parameter(name="*")] = ServeConfig()) -> None:
    """Answer classification requests over HTTP, until Ctrl-C."""
    command = [sys.executable, "-m", "trygon_serving", json.dumps(_settings(config))]
    if "--debug" in sys.argv:
        command.append("--debug")
    sys.stdout.flush()
    # In place of this process, so that signals reach the launcher itself.
    os.execv(sys.executable, command)


_BY_NAME = {"model", "labels", "checklist", "run", "gallery", "replicas"}


def _settings(config: ServeConfig) -> dict[str, Any]:
    """What the serving package is told: places by the names that requests call them. `UserError`."""
    from trygon.errors import UserError

    if bool(config.models) == bool(config.model or config.labels):
        raise UserError("say what to serve: --model FOLDER with --labels FOLDER, or --models FILE")
    for name, given in (("--model", config.model), ("--labels", config.labels)):
        if not config.models and not given:
            raise UserError(f"{name} is missing: --model FOLDER and the --labels FOLDER built with it go together")
    settings = config.model_dump(mode="json", exclude=_BY_NAME)
    least, _, most = config.replicas.partition("..")
    settings["replicas"] = [int(least), int(most or least)]
    if int(most or least) < int(least):
        raise UserError(f"--replicas {config.replicas}: the first number is the least")
    several = {"model": ("model", config.model), "labels": ("labels", config.labels)}
    several |= {"checklists": ("checklist", config.checklist)}
    several |= {"runs": ("run", config.run), "galleries": ("gallery", config.gallery)}
    return settings | {field: named(setting, values) for field, (setting, values) in several.items()}


_NAME, _OTHER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"), re.compile(r"[^A-Za-z0-9_-]+")


def named(setting: str, values: Sequence[str]) -> dict[str, str]:
    """NAME=PLACE, or a place alone, by name. `UserError` for a name that is there twice or is none."""
    from trygon.errors import UserError
    from trygon.storage import name_of

    places: dict[str, str] = {}
    for value in values:
        name, equals, place = value.partition("=")
        if not equals or "/" in name:
            # Folders are called anything; names stand in requests and figures.
            name, place = _OTHER.sub("-", name_of(value.rstrip("/")).split(".")[0]).strip("-_")[:64], value
        if not _NAME.fullmatch(name):
            raise UserError(f"--{setting} {value}: {name!r} is no name; give NAME=PLACE, in letters, digits, . _ -")
        if name in places:
            raise UserError(f"--{setting} {value}: {name} is there twice; give each a name of its own, as NAME=PLACE")
        places[name] = os.path.expanduser(place)  # no shell has done so after the equals sign
    return places

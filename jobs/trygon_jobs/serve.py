"""`trygon serve`: hands over to the serving package, which this one does not import."""

import json
import os
import sys
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from trygon_jobs.config import JobConfig, Place


class ServeConfig(JobConfig):
    """What to serve, and where."""

    model: str
    """A model folder, on disk or at an s3:// address, or hf-hub:OWNER/NAME."""
    labels: Place
    """A LabelBank made with that model by `trygon build-labels`."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets others on the network ask."""
    port: int = Field(8000, ge=1, le=65535)
    """Port to listen on."""
    triton: str | None = None
    """HOST:PORT of the gRPC of a running Triton; without it one is started here."""


def main(config: Annotated[ServeConfig, Parameter(name="*")]) -> None:
    """Answer classification requests over HTTP, until Ctrl-C."""
    command = [sys.executable, "-m", "trygon_serving", json.dumps(config.model_dump(mode="json"))]
    if "--debug" in sys.argv:
        command.append("--debug")
    sys.stdout.flush()
    # In place of this process, so that signals reach the launcher itself.
    os.execv(sys.executable, command)

"""`trygon models`: hands over to the serving package, which this one does not import."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from trygon_jobs.config import JobConfig, Ref
from trygon_jobs.serve import named


class ModelsConfig(JobConfig):
    """A file of models in versions, and what to do with it."""

    file: Path
    """The file that `trygon serve --models` reads; it need not be there yet."""
    add: str | None = None
    """MODEL/VERSION: add this version, with --model and --labels. It is loaded, and gets no request before --share;
    the first version of a model gets all of them."""
    model: Ref | None = None
    """Of the new version: a model folder, on disk or at an s3:// address, or hf-hub:OWNER/NAME."""
    labels: tuple[str, ...] = ()
    """Of the new version: LabelBanks made with that model, FOLDER or NAME=FOLDER (repeat it)."""
    encoder: str = "torch"
    """Of the new version: what makes the vectors, as `trygon serve --encoder` has it."""
    share: str | None = None
    """MODEL/VERSION=SHARE, from 0 to 1: give the version this share of the requests, and the others the rest."""
    remove: str | None = None
    """MODEL/VERSION: take it out. Requests that it has are answered."""


def main(config: Annotated[ModelsConfig, Parameter(name="*")]) -> None:
    """List the versions of models in a file, add or remove one, or change its share of the requests."""
    command = config.model_dump(mode="json") | {"labels": named("labels", config.labels)}
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "trygon_serving.rollout", json.dumps(command)])

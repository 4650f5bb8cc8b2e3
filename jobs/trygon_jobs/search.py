"""`trygon search`: observations of a run that look like another one, like a picture, or like what a text says."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from pydantic import Field

from trygon_jobs.config import JobConfig, Place

if TYPE_CHECKING:
    import numpy as np

    from trygon.archive.run import Run
    from trygon.archive.search import Hit, RunSearch
    from trygon.models.model import Model


class SearchConfig(JobConfig):
    """One query: a picture, a text or an observation."""

    run: Place
    """A run folder that trygon label made."""
    like: Path | None = None
    """A picture of the animal, cut out as closely as a detection is."""
    text: str | None = None
    """What it looks like, in the words that the model was trained on: "a photo of a fox", "Vulpes vulpes"."""
    observation: int | None = Field(None, ge=0)
    """The id of an observation or detection of this run."""
    num: int = Field(20, ge=1, le=10_000)
    """How many to find."""
    deployment: tuple[str, ...] = ()
    """Only of these cameras (repeat it)."""
    taxon: tuple[str, ...] = ()
    """Only what has this name, scientific or common, at any rank (repeat it)."""
    after: datetime | None = None
    """Only of this time and later, by the cameras' clocks: 2024-05-31, or 2024-05-31T18:00."""
    before: datetime | None = None
    """Only earlier than this."""
    out: Path | None = None
    """A file to write to, .csv or .html (a page with pictures), instead of the table."""
    archive: str | None = None
    """Where the frames are now, if they were moved since; for the page."""


def main(config: Annotated[SearchConfig, Parameter(name="*")]) -> None:
    """Find observations that look like a picture, a text or another one."""
    from trygon.archive.run import Run
    from trygon.archive.search import Filters, RunSearch
    from trygon.errors import UserError

    if sum(query is not None for query in (config.like, config.text, config.observation)) != 1:
        raise UserError("give one of --like PICTURE, --text WORDS and --observation ID")
    if config.out and config.out.suffix not in (".csv", ".html"):
        raise UserError(f"--out {config.out}: give a name that ends with .csv or .html")
    run = Run.open(config.run)
    filters = Filters(config.deployment, config.taxon, config.after, config.before)
    search = RunSearch(run, run.observations, _tell_progress)
    allowed = search.allowed(filters)
    hits = search.nearest(_vector(config, run, search), config.num, allowed)
    _give(config, run, hits)


def _tell_progress(num: int, total: int) -> None:
    """Of the index, which is made once."""


def _vector(config: SearchConfig, run: "Run", search: "RunSearch") -> "np.ndarray":
    from trygon.data.images import BadImage, preprocess
    from trygon.errors import UserError

    if config.observation is not None:
        return search.vector_of(config.observation)
    if config.text is not None:
        return _model(run).encode_texts([config.text])[0]
    assert config.like is not None, "main sees to it that one is given"
    try:
        data = config.like.read_bytes()
    except OSError as error:
        raise UserError(f"--like {config.like} cannot be read: {error.strerror}") from error
    model = _model(run)
    try:
        return model.encode_images(preprocess(data, model.side, model.resize_mode)[None])[0]
    except BadImage as error:
        raise UserError(f"--like {config.like} cannot be used: {error.reason.replace('_', ' ')}") from error


def _model(run: "Run") -> "Model":
    """The model that made the run's vectors. `UserError` where another one lies in its place by now."""
    from trygon.archive.sessions import makers
    from trygon.errors import UserError
    from trygon.models.folder import model_key
    from trygon.models.model import load_model

    model = load_model(run.config["model"])
    if model_key(model) != makers(run.folder)["model"]:
        raise UserError(f"{model.ref} is not the model any more that made the vectors of {run.folder}: bring it back")
    return model


def _give(config: SearchConfig, run: "Run", hits: "list[Hit]") -> None:
    from trygon.archive.search import rows_of_hits
    from trygon.disk import writing_to

    rows = rows_of_hits(run, hits)
    if config.out is None:
        _print(rows)
        return
    with writing_to(config.out.parent):
        if config.out.suffix == ".csv":
            from trygon.archive.exports.csv import write_rows

            write_rows(config.out, list(rows[0]) if rows else ["observation_id"], rows)
        else:
            from trygon.review.columns import Columns
            from trygon.review.found import write_page
            from trygon.review.pictures import Pictures

            pictures = Pictures.of(run, Columns.of(run), config.archive)
            write_page(run, rows, pictures, _query(config), config.out)
    print(f"{len(rows)} observations: {config.out}")


def _query(config: SearchConfig) -> str:
    if config.text is not None:
        return f"“{config.text}”"
    return f"like {config.like.name}" if config.like else f"like observation {config.observation}"


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("cosine", "name", "deployment", "time", "observation"):
        table.add_column(title, no_wrap=True, overflow="ignore")
    table.add_column("file", overflow="fold")
    for row in rows:
        name = row["common"] or row["scientific"] or row["type"]
        time = str(row["timestamp"] or "")
        values = (f"{row['cosine']:.3f}", name, row["deployment"], time, str(row["observation_id"]), row["path"])
        table.add_row(*values)
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 400).print(table)

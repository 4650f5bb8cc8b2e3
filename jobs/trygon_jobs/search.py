"""`trygon search`: observations of a run that look like another one, like a picture, or like what a text says."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from trygon_jobs.config import JobConfig, Place, Ref


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
    archive: Ref | None = None
    """Where the frames are now, if they were moved since; for the page."""


def main(config: Annotated[SearchConfig, Parameter(name="*")]) -> None:
    """Find observations that look like a picture, a text or another one."""
    from trygon_jobs.search_run import search

    search(config)

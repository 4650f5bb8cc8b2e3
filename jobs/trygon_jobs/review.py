"""`trygon review`: a page on which a person confirms or corrects what a run says."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from trygon_jobs.config import JobConfig, Place, Ref


class ReviewConfig(JobConfig):
    """One review."""

    run: Place
    """A run folder that trygon label made."""
    archive: Ref | None = None
    """Where the frames are now, if they were moved since."""
    labels: Place | None = None
    """A LabelBank whose taxa are found by name; without it, the one that the run was named with."""
    port: int = Field(0, ge=0, le=65535)
    """Port on this machine's loopback; 0 takes a free one."""
    by: str = ""
    """Who reviews; without it, the name of the account. The page can change it."""
    open: bool = True
    """Open the page in this machine's browser."""
    examples: Path | None = None
    """Open no page: write the animals that people named as pictures into this folder, a folder a taxon."""
    examples_per_taxon: int = Field(50, ge=1)
    """Pictures of a taxon at most, spread over its events."""


def main(config: Annotated[ReviewConfig, Parameter(name="*")]) -> None:
    """Confirm or correct a run's names in a browser, event by event, until Ctrl-C."""
    from trygon_jobs.review_run import review

    review(config)

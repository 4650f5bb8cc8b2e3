"""A run under review, for the tests of the desk and of the server before it."""

import shutil
from pathlib import Path
from typing import Any

from trygon.archive.run_folder.reviews import ReviewLog, read_reviews
from trygon.archive.run_folder.run import Run
from trygon.lease import Hold
from trygon.review.columns import Columns
from trygon.review.desk import Desk
from trygon.review.taxa import TaxonSearch
from trygon.testing.runs import TREE

TAXA = TaxonSearch(TREE)


def copy_run(template: Path, folder: Path) -> Run:
    """A run of its own beside its archive, as `write_tiny_run` left them in `template`."""
    shutil.copytree(template, folder, dirs_exist_ok=True)
    run = Run.open(folder / "run")
    run.config["archive"] = str(folder / "archive")
    return run


def desk_of(run: Run) -> Desk:
    """The desk as it is opened: with what was said before."""
    return Desk(Columns.of(run), read_reviews(run.folder).to_pylist(), TAXA, ReviewLog(run.folder, Hold()))


def names_of(event: dict[str, Any]) -> list[tuple[str, str, int]]:
    """Type, common name and count of an event's labels."""
    return [(label["type"], label["common"], label["count"]) for label in event["labels"]]


def standing(run: Run) -> dict[int, dict[str, Any]]:
    """The observations as they stand after the review, by id."""
    return {row["observation_id"]: row for row in Run.open(run.folder).observations.to_pylist()}

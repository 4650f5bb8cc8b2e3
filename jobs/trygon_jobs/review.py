"""`trygon review`: a page on which a person confirms or corrects what a run says."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from pydantic import Field

from trygon_jobs.config import JobConfig, Place

if TYPE_CHECKING:
    from trygon.archive.run import Run
    from trygon.lease import Hold
    from trygon.review.columns import Columns
    from trygon.review.server import Review
    from trygon.taxonomy.tree import TaxonTree


class ReviewConfig(JobConfig):
    """One review."""

    run: Place
    """A run folder that trygon label made."""
    archive: str | None = None
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
    from trygon.archive.run import Run
    from trygon.review.columns import Columns

    run = Run.open(config.run)
    columns = Columns.of(run)
    if config.examples:
        _write_examples(config, run, columns, config.examples)
        return
    from trygon.disk import only_writer, writing_to
    from trygon.errors import UserError
    from trygon.lease import HeldError

    with writing_to(config.run, "run folder"):
        try:
            with only_writer(config.run) as hold:
                _serve(config, _review(config, run, columns, hold))
        except HeldError as error:
            message = f"{config.run} is being written by another process, a review or a labelling run: end that first"
            raise UserError(message) from error


def _review(config: ReviewConfig, run: "Run", columns: "Columns", hold: "Hold") -> "Review":
    import getpass

    from trygon.archive.reviews import ReviewLog, read_reviews
    from trygon.archive.search import RunSearch
    from trygon.review.desk import Desk
    from trygon.review.pictures import Pictures
    from trygon.review.server import About, Review
    from trygon.review.taxa import TaxonSearch
    from trygon.storage import name_of

    taxa = TaxonSearch(_tree(config, run))
    desk = Desk(columns, read_reviews(config.run).to_pylist(), taxa, ReviewLog(config.run, hold))
    pictures = Pictures.of(run, columns, config.archive, desk.said)
    about = About(
        title=name_of(run.config["archive"].split("?")[0].rstrip("/")),
        reviewer=config.by or getpass.getuser(),
        num_label_taxa=len(taxa.tree),
    )
    return Review(desk, pictures, lambda: RunSearch(run, columns.table), about)


def _tree(config: ReviewConfig, run: "Run") -> "TaxonTree":
    """The taxa to choose from: the bank's, or those that the run names where the bank is gone."""
    from trygon.errors import UserError
    from trygon.labelling.bank import LabelBank
    from trygon.taxonomy.tree import TaxonTree

    try:
        return LabelBank.load(config.labels or run.config["labels"]).tree
    except UserError as error:
        if config.labels:
            raise
        print(f"note: {error}; only names that the run gave can be chosen (--labels gives others)", file=sys.stderr)
        return TaxonTree.from_table(run.predictions)


def _serve(config: ReviewConfig, review: "Review") -> None:
    import secrets
    import socket

    import uvicorn

    from trygon.errors import UserError
    from trygon.review.server import application

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", config.port))
        except OSError as error:
            raise UserError(f"--port {config.port} cannot be had ({error.strerror}); give another one") from error
        listening.listen()  # before the address is told: the browser that comes at once waits, and is not refused
        port, token = listening.getsockname()[1], secrets.token_urlsafe(24)
        app = application(review, token, port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False, access_log=False))
        address = f"http://127.0.0.1:{port}/?token={token}"
        left = review.desk.progress()
        print(f"{left['num_reviewed']} of {left['num_events']} events are reviewed. Open, and end with Ctrl-C:")
        print(address, flush=True)
        if config.open:
            _open(address)
        with suppress(KeyboardInterrupt):  # uvicorn ends in order, and raises it once more
            server.run(sockets=[listening])
    done = review.desk.progress()
    print(
        f"{done['num_reviewed']} of {done['num_events']} events are reviewed; `trygon export {config.run}` has it all"
    )


def _open(address: str) -> None:
    import os
    import webbrowser

    # Elsewhere a browser of the terminal would be opened, over what was just printed.
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)


def _write_examples(config: ReviewConfig, run: "Run", columns: "Columns", out: Path) -> None:
    from trygon.disk import writing_to
    from trygon.errors import UserError
    from trygon.review.examples import write_examples
    from trygon.review.pictures import Pictures

    pictures = Pictures.of(run, columns, config.archive)
    with writing_to(out, "--examples"):
        num, num_taxa, left_out = write_examples(run, columns, pictures, out, config.examples_per_taxon)
    if not num and not left_out:
        raise UserError(f"nobody named an animal in {config.run} yet: `trygon review {config.run}` first")
    missing = f"; {left_out} could not be read, or are hidden as people" if left_out else ""
    print(f"{num} pictures of {num_taxa} taxa: {out}{missing}")

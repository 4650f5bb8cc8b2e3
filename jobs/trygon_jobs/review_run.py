"""`trygon review` at work: the page on loopback until Ctrl-C, or the pictures of what people named."""

import getpass
import os
import secrets
import socket
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path

import uvicorn

from trygon.archive.run_folder.reviews import ReviewLog, read_reviews
from trygon.archive.run_folder.run import Run
from trygon.archive.run_folder.search import RunSearch
from trygon.disk import only_writer, writing_to
from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.lease import HeldError, Hold
from trygon.review.columns import Columns
from trygon.review.desk import Desk
from trygon.review.examples import write_examples
from trygon.review.pictures import Pictures
from trygon.review.server import About, ReviewParts, application
from trygon.review.taxa import TaxonSearch
from trygon.storage import name_of
from trygon.taxonomy.tree import TaxonTree
from trygon_jobs.review import ReviewConfig


def review(config: ReviewConfig) -> None:
    """Show the page, or write the examples."""
    run = Run.open(config.run)
    columns = Columns.of(run)
    if config.examples:
        _write_examples(config, run, columns, config.examples)
        return
    with writing_to(config.run, "run folder"):
        try:
            with only_writer(config.run) as hold:
                _serve(config, _parts(config, run, columns, hold))
        except HeldError as error:
            message = f"{config.run} is being written by another process, a review or a labelling run: end that first"
            raise UserError(message) from error


def _parts(config: ReviewConfig, run: Run, columns: Columns, hold: Hold) -> ReviewParts:
    taxa = TaxonSearch(_tree(config, run))
    desk = Desk(columns, read_reviews(config.run).to_pylist(), taxa, ReviewLog(config.run, hold))
    pictures = Pictures.of(run, columns, config.archive, desk.said)
    about = About(
        title=name_of(run.config["archive"].split("?")[0].rstrip("/")),
        reviewer=config.by or user_name(),
        num_label_taxa=len(taxa.tree),
    )
    return ReviewParts(desk, pictures, lambda: RunSearch(run, columns.table), about)


def user_name() -> str:
    """Who runs this; by number where the system has no name for the user, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _tree(config: ReviewConfig, run: Run) -> TaxonTree:
    """The taxa to choose from: the bank's, or those that the run names where the bank is gone."""
    try:
        return LabelBank.load(config.labels or run.config["labels"]).tree
    except UserError as error:
        if config.labels:
            raise
        print(f"note: {error}; only names that the run gave can be chosen (--labels gives others)", file=sys.stderr)
        return TaxonTree.from_table(run.predictions)


def _serve(config: ReviewConfig, parts: ReviewParts) -> None:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", config.port))
        except OSError as error:
            raise UserError(f"--port {config.port} cannot be had ({error.strerror}); give another one") from error
        listening.listen()  # before the address is told: the browser that comes at once waits, and is not refused
        port, token = listening.getsockname()[1], secrets.token_urlsafe(24)
        app = application(parts, token, port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False, access_log=False))
        address = f"http://127.0.0.1:{port}/?token={token}"
        left = parts.desk.progress()
        print(f"{left['num_reviewed']} of {left['num_events']} events are reviewed. Open, and end with Ctrl-C:")
        print(address, flush=True)
        if config.open:
            _open(address)
        with suppress(KeyboardInterrupt):  # uvicorn ends in order, and raises it once more
            server.run(sockets=[listening])
    done = parts.desk.progress()
    reviewed = f"{done['num_reviewed']} of {done['num_events']} events are reviewed"
    print(f"{reviewed}; `trygon export {config.run} --out FOLDER` takes that along")


def _open(address: str) -> None:
    # Elsewhere a browser of the terminal would be opened, over what was just printed.
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)


def _write_examples(config: ReviewConfig, run: Run, columns: Columns, out: Path) -> None:
    pictures = Pictures.of(run, columns, config.archive)
    with writing_to(out, "--examples"):
        num, num_taxa, left_out = write_examples(run, columns, pictures, out, config.examples_per_taxon)
    if not num and not left_out:
        raise UserError(f"nobody named an animal in {config.run} yet: `trygon review {config.run}` first")
    missing = f"; {left_out} could not be read, or are hidden as people" if left_out else ""
    print(f"{num} pictures of {num_taxa} taxa: {out}{missing}")

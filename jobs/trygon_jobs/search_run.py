"""`trygon search` at work: from the query to a table, a CSV or a page."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from trygon.archive.exports.csv import write_rows
from trygon.archive.inputs.zones import local
from trygon.archive.run_folder.run import Run
from trygon.archive.run_folder.search import Filters, Hit, RunSearch, rows_of_hits
from trygon.archive.run_folder.sessions import makers
from trygon.data.images import BadImage, preprocess
from trygon.disk import writing_to
from trygon.errors import UserError
from trygon.models.folder import model_key
from trygon.review.columns import Columns
from trygon.review.found import write_page
from trygon.review.pictures import Pictures
from trygon_jobs.progress import counting
from trygon_jobs.search import SearchConfig

if TYPE_CHECKING:
    from trygon.models.model import Model


def search(config: SearchConfig) -> None:
    """Find what the query asks for, and show or write it."""
    if sum(query is not None for query in (config.like, config.text, config.observation)) != 1:
        raise UserError("give one of --like PICTURE, --text WORDS and --observation ID")
    if config.out and config.out.suffix not in (".csv", ".html"):
        raise UserError(f"--out {config.out}: give a name that ends with .csv or .html")
    run = Run.open(config.run)
    with _showing_index() as tell:
        vectors = RunSearch(run, run.observations, tell)
    after, before = (time and local(time, run.zone()) for time in (config.after, config.before))
    allowed = vectors.allowed(Filters(config.deployment, config.taxon, after, before))
    _give(config, run, vectors.nearest(_vector(config, run, vectors), config.num, allowed))


@contextmanager
def _showing_index() -> Iterator[Callable[[int, int], None]]:
    """Shows how the index is made, which the first search does: call what it gives with how many more vectors are in
    it, and of how many."""
    with ExitStack() as stack:
        advance: Callable[[int], None] | None = None

        def tell(num: int, total: int) -> None:
            nonlocal advance
            advance = advance or stack.enter_context(counting("index", total=total, unit="vectors"))
            advance(num)

        yield tell


def _vector(config: SearchConfig, run: Run, vectors: RunSearch) -> np.ndarray:
    if config.observation is not None:
        return vectors.vector_of(config.observation)
    if config.text is not None:
        return _model(run).encode_texts([config.text])[0]
    assert config.like is not None, "one of the three is given"
    try:
        data = config.like.read_bytes()
    except OSError as error:
        raise UserError(f"--like {config.like} cannot be read: {error.strerror}") from error
    model = _model(run)
    try:
        return model.encode_images(preprocess(data, model.side, model.resize_mode)[None])[0]
    except BadImage as error:
        raise UserError(f"--like {config.like} cannot be used: {error.reason.replace('_', ' ')}") from error


def _model(run: Run) -> "Model":
    """The model that made the run's vectors. `UserError` where another one lies in its place by now."""
    # Not above: PyTorch takes seconds to come, and what is like another observation needs none of it.
    from trygon.models.model import load_model

    model = load_model(run.config["model"])
    if model_key(model) != makers(run.folder)["model"]:
        raise UserError(f"{model.ref} is not the model any more that made the vectors of {run.folder}: bring it back")
    return model


def _give(config: SearchConfig, run: Run, hits: list[Hit]) -> None:
    rows = rows_of_hits(run, hits)
    if config.out is None:
        _print(rows)
        return
    with writing_to(config.out.parent):
        if config.out.suffix == ".csv":
            write_rows(config.out, list(rows[0]) if rows else ["observation_id"], rows)
        else:
            pictures = Pictures.of(run, Columns.of(run), config.archive)
            write_page(run, rows, pictures, _query(config), config.out)
    print(f"{len(rows)} observations: {config.out}")


def _query(config: SearchConfig) -> str:
    if config.text is not None:
        return f"“{config.text}”"
    return f"like {config.like.name}" if config.like else f"like observation {config.observation}"


def _print(rows: list[dict[str, Any]]) -> None:
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

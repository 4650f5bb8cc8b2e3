"""What a search found as a page: one HTML file with its pictures. Knows nothing of how it was found."""

import base64
from pathlib import Path
from typing import Any

import jinja2

from trygon.archive.run_folder.run import Run
from trygon.review.pictures import Pictures
from trygon.storage import write_text


def write_page(run: Run, rows: list[dict[str, Any]], pictures: Pictures, query: str, out: str | Path) -> None:
    """Write the page. `rows` are those of `trygon.archive.run_folder.search.rows_of_hits`."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "page")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    shown = [row | {"picture": _picture(pictures, row["observation_id"])} for row in rows]
    write_text(out, environment.get_template("found.html.jinja").render(run=run, rows=shown, query=query))


def _picture(pictures: Pictures, observation_id: int) -> str:
    """A data URI; blank where the frame cannot be read."""
    try:
        return "data:image/jpeg;base64," + base64.b64encode(pictures.crop(observation_id)).decode()
    except OSError:
        return ""

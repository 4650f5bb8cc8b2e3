"""The pages that show a run to people: an index, a page a taxon, and small pictures. They open from disk.

All figures come out of the database and all pictures are a sample: the pages of a million observations are as big as
those of a few thousand.
"""

import math
import shutil
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jinja2

from trygon import __version__
from trygon.archive.inputs.deployments import Span
from trygon.archive.inputs.listing import Archive
from trygon.archive.report.statistics import Statistics
from trygon.archive.report.thumbnails import FOLDER, Band, blanks, choose, write_pictures
from trygon.archive.run_folder.run import Run
from trygon.schemas import FAILURES
from trygon.taxonomy.taxon import RANKS

PAGES = "taxa"
NUM_FRAMES, NUM_CLOCKS = 24, 12
MAX_ROWS = 1000
"""Of taxa and of cameras that are listed; the tables have all."""

_MAP_PX = 460


def write_report(
    run: Run,
    archive: Archive,
    folder: Path,
    places: dict[str, tuple[float, float]],
    spans: dict[str, Span] | None = None,
) -> None:
    """Write `index.html`, `taxa/` and `pictures/` into a folder of this machine. Reads again the frames that it shows.

    `places` maps deployments to latitude and longitude, `spans` to start and end.
    """
    for name in (PAGES, FOLDER):  # of an earlier labelling
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / PAGES).mkdir(parents=True)
    statistics = Statistics(run, spans or {})
    taxa = statistics.taxa[:MAX_ROWS]
    chosen = choose(run, [row["key"] for row in taxa])
    empty = blanks(run)
    shown = write_pictures(run, archive, [*empty, *(one for bands in chosen.values() for one in _ids(bands))], folder)
    pages = _environment()
    about = {"version": __version__, "summary": run.summary, "config": run.config}
    clocks = {row["key"]: clock(statistics.hours_of.get(row["key"], [])) for row in taxa}
    for row in taxa:
        page = pages.get_template("report_taxon.html.jinja").render(
            **about,
            **{"taxon": row, "clock": clocks[row["key"]], "root": "../"},
            cameras=statistics.cameras_of(row["key"]),
            bands=[(band, [shown[media_id] for media_id in band.media_ids]) for band in chosen.get(row["key"], [])],
        )
        (folder / PAGES / f"{row['number']}.html").write_text(page, encoding="utf-8")
    page = pages.get_template("report.html.jinja").render(
        **about,
        **{"taxa": taxa, "num_taxa": len(statistics.taxa), "root": "", "ranks": _rank_bars(run.summary)},
        clock=clock(statistics.hours),
        clocks=[(row, clocks[row["key"]]) for row in taxa if clocks[row["key"]]][:NUM_CLOCKS],
        cameras=statistics.cameras[:MAX_ROWS],
        num_cameras=len(statistics.cameras),
        map=plot(statistics.cameras, places),
        frames=[shown[media_id] for media_id in _in_turn(chosen)[:NUM_FRAMES]],
        blanks=[shown[media_id] for media_id in empty],
        failures=[row | {"why": FAILURES.get(row["reason"], "")} for row in statistics.failures],
    )
    (folder / "index.html").write_text(page, encoding="utf-8")


def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda value: f"{100 * value:.0f} %"
    environment.filters["count"] = lambda value: f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    environment.filters["rate"] = lambda value: f"{value:.3g}" if value < 100 else f"{value:.0f}"
    environment.globals["ranks_order"] = RANKS
    return environment


def _rank_bars(summary: dict[str, Any]) -> list[dict[str, Any]]:
    counts = summary["num_animals_by_rank"]
    total = max(1, sum(counts.values()))
    order = (*reversed(RANKS), "none")
    return [{"rank": rank, "num": counts[rank], "share": counts[rank] / total} for rank in order if rank in counts]


def _ids(bands: Sequence[Band]) -> list[int]:
    """The frames of a taxon, the surest first."""
    return [media_id for band in bands for media_id in band.media_ids]


def _in_turn(chosen: dict[str, list[Band]]) -> list[int]:
    """The surest frame of every taxon, then the next one of each, none twice."""
    found: dict[int, None] = {}
    for turn in zip_longest(*map(_ids, chosen.values())):
        found.update((media_id, None) for media_id in turn if media_id is not None)
    return list(found)


def clock(hours: Sequence[int]) -> list[dict[str, Any]]:
    """A day as a circle of radius 100 around 0, 0, midnight on top: for each hour with events a wedge as an SVG path.

    A wedge's area, not its length, goes with the number.
    """
    most = max(hours, default=0)
    wedges = []
    for hour, num in enumerate(hours):
        if num:
            radius = 100 * math.sqrt(num / most)
            ends = [math.radians(15 * edge - 90) for edge in (hour + 0.06, hour + 0.94)]
            (x, y), (u, v) = ((radius * math.cos(end), radius * math.sin(end)) for end in ends)
            path = f"M0 0L{x:.1f} {y:.1f}A{radius:.1f} {radius:.1f} 0 0 1 {u:.1f} {v:.1f}Z"
            wedges.append({"hour": hour, "num": num, "path": path})
    return wedges


def plot(cameras: Sequence[dict[str, Any]], places: dict[str, tuple[float, float]]) -> dict[str, Any] | None:
    """Cameras with coordinates as circles in a plot that is true to scale at its middle; None where there is none."""
    known = [(row, *places[row["deployment"]]) for row in cameras if row["deployment"] in places]
    if not known:
        return None
    middle = math.radians(sum(latitude for _, latitude, _ in known) / len(known))
    xs = [longitude * math.cos(middle) for _, _, longitude in known]
    ys = [-latitude for _, latitude, _ in known]
    span = max(max(xs) - min(xs), max(ys) - min(ys), 1e-4)
    scale = (_MAP_PX - 60) / span
    most = max(row["num_animals"] for row, _, _ in known) or 1
    points = [
        {
            **{"x": 30 + (x - min(xs)) * scale, "y": 30 + (y - min(ys)) * scale, "name": row["deployment"]},
            **{"num": row["num_animals"], "radius": 4 + 14 * math.sqrt(row["num_animals"] / most)},
        }
        for (row, _, _), x, y in zip(known, xs, ys, strict=True)
    ]
    bar = 10 ** math.floor(math.log10(span * 111.32 / 2))
    return {
        **{"points": points, "bar": bar, "bar_px": bar / 111.32 * scale, "num_placeless": len(cameras) - len(known)},
        **{"width": 60 + (max(xs) - min(xs)) * scale, "height": 84 + (max(ys) - min(ys)) * scale},
    }

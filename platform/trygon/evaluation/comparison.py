"""Models side by side: a table as text, CSV and a page with plots. Knows nothing of how they were trained."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from trygon.evaluation.few_shot import SHOTS
from trygon.taxonomy.captions import MIXED, TextType

TASKS = ("seen", "unseen")
RANKS_SHOWN = ("species", "genus", "family", "class")
_COLOURS = ("#2f7d5b", "#d9a441", "#7a9cc6", "#a8442f")
_ROW_INCHES = 0.34


@dataclass(frozen=True)
class Row:
    """A model: what it was chosen by, what it reached, and the reason where there is none."""

    choices: Mapping[str, str]
    figures: Mapping[str, float] = field(default_factory=dict)
    """The metrics of an evaluation, and `training_s`."""
    reason: str = ""


@dataclass(frozen=True)
class _Column:
    """A figure and the keys of its interval's ends or of its deviation, both optional."""

    title: str
    key: str
    low: str = ""
    high: str = ""
    deviation: str = ""
    percent: bool = True

    @property
    def keys(self) -> list[str]:
        return [key for key in (self.key, self.low, self.high, self.deviation) if key]

    def text(self, figures: Mapping[str, float]) -> str:
        if self.key not in figures:
            return ""
        if not self.percent:
            return f"{figures[self.key]:.0f}"
        value = f"{100 * figures[self.key]:.1f}"
        if self.low:
            return f"{value} ({100 * figures[self.low]:.0f}–{100 * figures[self.high]:.0f})"
        return f"{value} ±{100 * figures[self.deviation]:.1f}"


def _zero_shot(task: str, rank: str, text_type: TextType = TextType.TAXON, by: str = "") -> _Column:
    key = f"zero_shot/{task}/{text_type}/{rank}/top1"
    return _Column(f"{task} {rank}{by}", key, f"{key}_low", f"{key}_high")


def _few_shot(task: str, shots: int) -> _Column:
    key = f"few_shot/{task}/{shots}/top1"
    return _Column(f"{task} {shots}-shot", key, deviation=f"{key}_std")


BY_TEXT_TYPE = tuple(_zero_shot(task, "species", kind, f" by {kind}") for task in TASKS for kind in MIXED)
"""Named by captions of each text type: what models that learned from different ones are compared on."""
COLUMNS = (
    *(_zero_shot(task, rank) for task in TASKS for rank in RANKS_SHOWN),
    *BY_TEXT_TYPE,
    *(_few_shot(task, shots) for task in TASKS for shots in SHOTS),
    _Column("training s", "training_s", percent=False),
)


def shown_keys() -> list[str]:
    """The figures that a comparison shows, each once."""
    return list(dict.fromkeys(key for column in COLUMNS for key in column.keys))


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Cells as text, the header first; columns that no row has anything for are left out, and, where models do not
    differ in their `text_types`, those by text type."""
    wanted = [column for column in COLUMNS if "text_types" in rows[0].choices or column not in BY_TEXT_TYPE]
    columns = [column for column in wanted if any(column.key in row.figures for row in rows)]
    lines = [[*rows[0].choices, *(column.title for column in columns)]]
    lines += [[*row.choices.values(), *(column.text(row.figures) for column in columns)] for row in rows]
    if any(row.reason for row in rows):
        for line, text in zip(lines, ["failed", *(row.reason for row in rows)], strict=True):
            line.append(text)
    return lines


def as_markdown(cells: Sequence[Sequence[str]]) -> str:
    """A table with aligned columns."""
    cells = [[text.replace("|", "\\|") for text in line] for line in cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in cells]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def as_csv(rows: Sequence[Row]) -> str:
    """A line for each model: its choices, every figure that a comparison shows as a number, and the reason."""
    file = io.StringIO()
    writer = csv.DictWriter(file, [*rows[0].choices, *shown_keys(), "failed"], restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        figures = {key: round(row.figures[key], 4) for key in shown_keys() if key in row.figures}
        writer.writerow({**row.choices, **figures, "failed": row.reason})
    return file.getvalue()


def page(title: str, rows: Sequence[Row]) -> str:
    """The page's HTML, plots included."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    header, *body = table([Row(row.choices, row.figures) for row in rows])
    lines = [(text, list(row.choices.values()), row.reason) for text, row in zip(body, rows, strict=True)]
    return environment.get_template("comparison.html.jinja").render(
        title=title, header=header, lines=lines, plots=Markup(_plots(rows))
    )


def _plots(rows: Sequence[Row]) -> str:
    """Zero-shot by rank and few-shot by shots, a panel for each task, as SVG; models from top to bottom."""
    from matplotlib.figure import Figure

    groups = [[_zero_shot(task, rank) for rank in RANKS_SHOWN] for task in TASKS]
    groups += [[_few_shot(task, shots) for shots in SHOTS] for task in TASKS]
    titles = [*(f"{task}, zero-shot, %" for task in TASKS), *(f"{task}, few-shot, %" for task in TASKS)]
    panels = [
        (title, group)
        for title, group in zip(titles, groups, strict=True)
        if any(column.key in row.figures for column in group for row in rows)
    ]
    if not panels:
        return ""
    figure = Figure(figsize=(3.6 * len(panels) + 1.5, _ROW_INCHES * max(2, len(rows)) + 1.6), layout="constrained")
    for panel, (title, group) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for number, (column, colour) in enumerate(zip(group, _COLOURS, strict=False)):
            _points(panel, rows, column, colour, (number - (len(group) - 1) / 2) * 0.16)
        panel.set(title=title, xlim=(0, 100), ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)))
        first = title == panels[0][0]
        panel.set_yticklabels([" · ".join(row.choices.values()) for row in rows] if first else [])
        panel.grid(axis="x", alpha=0.3)
        panel.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4, ncol=len(group))
    file = io.StringIO()
    figure.savefig(file, format="svg")
    return file.getvalue()[file.getvalue().index("<svg") :]  # without the header of a file of its own


def _points(panel: Any, rows: Sequence[Row], column: _Column, colour: str, offset: float) -> None:
    """A point for each model, with its interval or deviation."""
    there = [(number, row.figures) for number, row in enumerate(rows) if column.key in row.figures]
    value = [100 * figures[column.key] for _, figures in there]
    if column.low:
        ends = [(100 * figures[column.low], 100 * figures[column.high]) for _, figures in there]
    else:
        spread = [100 * figures[column.deviation] for _, figures in there]
        ends = [(it - by, it + by) for it, by in zip(value, spread, strict=True)]
    error = [[max(0, it - low) for it, (low, _) in zip(value, ends, strict=True)]]
    error += [[max(0, high - it) for it, (_, high) in zip(value, ends, strict=True)]]
    at = [number + offset for number, _ in there]
    label = column.title.partition(" ")[2]
    panel.errorbar(value, at, xerr=error, fmt="o", markersize=4, linewidth=1, color=colour, label=label)

"""What the queries of a Grafana dashboard ask of Prometheus, and the figures and labels that a program tells it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TEXT = r'"(?:[^"\\]|\\.)*"'
_SELECTOR = re.compile(rf"\b([a-z]+_\w+)\b(?!\s*\()(?:\{{((?:[^}}\"]|{_TEXT})*)\}})?")
_MATCHER = re.compile(rf"(\w+)\s*(?:=~|!~|!=|=)\s*{_TEXT}")
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? ", re.MULTILINE)
_GROUPING = re.compile(r"\bby \(([\w, ]+)\) \(")
_ABOUT_LABELS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\b")
_SHOWN = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True)
class Query:
    """A query, and how its lines are called in the picture."""

    text: str
    legend: str

    def figures(self) -> dict[str, set[str]]:
        """The figures that it reads, each with the labels that it asks of them, or that the legend shows."""
        bare = self.text.replace("$__rate_interval", "1m")
        groups = [(_names(it[1]), _within(bare, it.end())) for it in _GROUPING.finditer(bare)]
        assert len(_ABOUT_LABELS.findall(re.sub(_TEXT, "", bare))) == len(groups), f"not understood: {self.text}"
        asked: dict[str, set[str]] = {}
        for name, matchers in _selectors(bare):
            asked.setdefault(name, set()).update(_MATCHER.findall(matchers))
        for labels, inside in groups:
            for name, _ in _selectors(inside):
                asked[name] |= labels
        shown = set(_SHOWN.findall(self.legend))
        if groups:
            missing = shown - set.union(*(labels for labels, _ in groups))
            assert not missing, f"the legend shows {missing}, which no group of the query has: {self.text}"
        return {name: labels | shown for name, labels in asked.items()}


def queries(dashboard: Path) -> list[Query]:
    """All queries of a dashboard's file."""
    panels = json.loads(dashboard.read_text())["panels"]
    return [Query(it["expr"], it.get("legendFormat", "")) for panel in panels for it in panel["targets"]]


def told(figures: str) -> dict[str, set[str]]:
    """The figures that a program tells, by the names that queries call them, with their labels."""
    # prometheus_client's own parser would give Triton's counters another name, as they do not end in _total.
    labels: dict[str, set[str]] = {}
    for name, given in _SAMPLE.findall(figures):
        labels.setdefault(name, set()).update(_MATCHER.findall(given))
    return labels


def _names(labels: str) -> set[str]:
    return {label.strip() for label in labels.split(",")}


def _selectors(query: str) -> Iterator[tuple[str, str]]:
    """Each figure that is read, with what stands in its braces."""
    without = re.sub(r"\bby \([\w, ]+\)", "", query)
    for found in _SELECTOR.finditer(without):
        yield found[1], found[2] or ""


def _within(query: str, start: int) -> str:
    """What stands in the parentheses that were opened just before."""
    depth = 1
    for place in range(start, len(query)):
        depth += {"(": 1, ")": -1}.get(query[place], 0)
        if depth == 0:
            return query[start:place]
    raise ValueError(f"a parenthesis is not closed: {query}")

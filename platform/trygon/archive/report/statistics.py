"""The figures of a run's page: how often each taxon was seen and how sure that is, when, and by which cameras.

Asks the database of a run. Holds a row a taxon and a camera, never one an observation.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from trygon.archive.inputs.deployments import Span
from trygon.archive.run_folder.database import KEY, columns
from trygon.archive.run_folder.run import Run
from trygon.evaluation.metrics import wilson
from trygon.taxonomy.taxon import RANKS

_DRAWS = 1000
_TAXA = f"""
SELECT {KEY} AS key, type, scientific, {columns(RANKS)}, max(common) AS common, any_value(rank) AS rank,
    {{count}} AS num_detections, avg(probability) AS probability
FROM {{table}} WHERE type <> 'blank' GROUP BY ALL
"""
_EVENTS = f"""
SELECT {KEY} AS key, deployment, count(*) AS num, max(count) AS largest
FROM event_taxa WHERE type <> 'blank' GROUP BY ALL
"""
_HOURS = f"""
SELECT {KEY} AS key, hour(start) AS hour, count(*) AS num
FROM event_taxa WHERE type = 'animal' AND start IS NOT NULL GROUP BY ALL
"""
_ALL_HOURS = """
SELECT hour(start) AS hour, count(DISTINCT event_id) AS num
FROM event_taxa WHERE type = 'animal' AND start IS NOT NULL GROUP BY ALL
"""
_DATED = "clock IS NULL AND coalesce(failure, '') NOT IN ('missing', 'outside')"
"""Of a file that is there, and whose date can be right."""
_CAMERAS = f"""
SELECT media.deployment, count(*) AS num_images, count(failure) AS num_failed,
    min(timestamp) FILTER ({_DATED}) AS first, max(timestamp) FILTER ({_DATED}) AS last,
    concat_ws(' ', mode(make), mode(model)) AS camera,
    coalesce(any_value(num_animals), 0) AS num_animals, coalesce(any_value(num_blank), 0) AS num_blank,
    coalesce(any_value(num_events), 0) AS num_events
FROM media LEFT JOIN (
    SELECT deployment, count(DISTINCT media_id) FILTER (type = 'animal') AS num_animals,
        count(*) FILTER (type = 'blank') AS num_blank, count(DISTINCT event_id) AS num_events
    FROM sightings GROUP BY deployment
) AS seen ON seen.deployment = media.deployment
GROUP BY media.deployment ORDER BY media.deployment
"""
_FAILURES = (
    "SELECT reason, count(*) AS num, min(path, 8) AS paths FROM failures GROUP BY reason ORDER BY num DESC, reason"
)


@dataclass(frozen=True)
class Statistics:
    """Of one run. Intervals are of 95 %. `spans` say from when to when deployments stood, as far as that is known;
    else their first and last images with a date that can be right stand for it."""

    run: Run
    spans: Mapping[str, Span] = field(default_factory=dict)

    @cached_property
    def cameras(self) -> list[dict[str, Any]]:
        """A row a deployment with files, in the order of their names: images, first and last date, days, events and
        `top`."""
        names = {row["key"]: row["common"] or row["scientific"] for row in self._names.values()}
        top: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for key, found in self._events.items():
            for deployment, (num, _) in found.items():
                if names[key]:
                    top[deployment].append((-num, names[key]))
        return [row | {"top": [name for _, name in sorted(top[row["deployment"]])[:3]]} for row in self._stood]

    @cached_property
    def taxa(self) -> list[dict[str, Any]]:
        """A row a taxon and rank, and one for people, vehicles and animals without a name; most events first.

        `share` of the cameras saw it, with Wilson's interval over cameras. `rate` is events in 100 camera-days, with
        the interval of a bootstrap that draws cameras; None where fewer than two have dates.
        """
        rows = [row | self._counted(row["key"]) for row in self._names.values()]
        rows.sort(key=lambda row: (-row["num_events"], -row["num_detections"], row["key"]))
        return [row | {"number": number} for number, row in enumerate(rows, 1)]

    @cached_property
    def hours(self) -> list[int]:
        """Events with animals that began in each hour of the cameras' clocks: 24 numbers."""
        return _day({row["hour"]: row["num"] for row in self.run.rows(_ALL_HOURS)})

    @cached_property
    def hours_of(self) -> dict[str, list[int]]:
        """The same for each taxon, by its key."""
        found: dict[str, dict[int, int]] = defaultdict(dict)
        for row in self.run.rows(_HOURS):
            found[row["key"]][row["hour"]] = row["num"]
        return {key: _day(hours) for key, hours in found.items()}

    @cached_property
    def failures(self) -> list[dict[str, Any]]:
        """A row a reason, the most frequent first, with its first few paths."""
        return list(self.run.rows(_FAILURES))

    def cameras_of(self, key: str) -> list[tuple[str, int]]:
        """The deployments that saw a taxon with its events there, most first."""
        found = self._events.get(key, {})
        return sorted(((name, num) for name, (num, _) in found.items()), key=lambda item: (-item[1], item[0]))

    @cached_property
    def _names(self) -> dict[str, dict[str, Any]]:
        """Pooled over an event, a taxon may have a name that none of its detections has alone."""
        pooled = {row["key"]: row for row in self.run.rows(_TAXA.format(table="event_taxa", count="0"))}
        return pooled | {
            row["key"]: row for row in self.run.rows(_TAXA.format(table="observations", count="count(*)"))
        }

    @cached_property
    def _events(self) -> dict[str, dict[str, tuple[int, int]]]:
        """By key and deployment: events, and the largest number in one frame."""
        found: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
        for row in self.run.rows(_EVENTS):
            found[row["key"]][row["deployment"]] = row["num"], row["largest"] or 1
        return found

    @cached_property
    def _days(self) -> dict[str, int]:
        """Of the cameras that showed anything: of one without a file that could be read, nobody knows what it saw."""
        return {row["deployment"]: row["days"] for row in self._stood if row["num_failed"] < row["num_images"]}

    @cached_property
    def _stood(self) -> list[dict[str, Any]]:
        rows = []
        for row in self.run.rows(_CAMERAS):
            start, end = self.spans.get(row["deployment"], (None, None))
            first, last = start or row["first"], end or row["last"]
            days = (last.date() - first.date()).days + 1 if first and last else 0
            rows.append(row | {"first": first, "last": last, "days": max(0, days)})
        return rows

    @cached_property
    def _draws(self) -> tuple[dict[str, int], np.ndarray, np.ndarray]:
        """Places of the C cameras with dates, how often each is drawn (draws, C), and the days of each draw."""
        dated = {name: days for name, days in self._days.items() if days}
        if not dated:
            return {}, np.empty((_DRAWS, 0)), np.empty(0)
        chances = np.full(len(dated), 1 / len(dated))
        draw_DC = np.random.default_rng(0).multinomial(len(dated), chances, _DRAWS).astype(np.int32)
        return (
            {name: place for place, name in enumerate(dated)},
            draw_DC,
            draw_DC @ np.array(list(dated.values()), int),
        )

    def _counted(self, key: str) -> dict[str, Any]:
        found = self._events.get(key, {})
        low, high = wilson(len(found) / len(self._days), len(self._days))
        about = {
            "num_events": sum(num for num, _ in found.values()),
            "largest": max((largest for _, largest in found.values()), default=1),
            "num_cameras": len(found),
            "share": len(found) / len(self._days),
            "share_low": low,
            "share_high": high,
        }
        return about | self._rate({name: num for name, (num, _) in found.items()})

    def _rate(self, events: dict[str, int]) -> dict[str, Any]:
        places, draw_DC, days_D = self._draws
        if not places:
            return {"rate": None, "rate_low": None, "rate_high": None}
        here = {places[name]: num for name, num in events.items() if name in places}
        rate = 100 * sum(here.values()) / sum(self._days.values())
        if len(places) < 2:
            return {"rate": rate, "rate_low": None, "rate_high": None}
        drawn_D = 100 * (draw_DC[:, list(here)] @ np.array(list(here.values()), int)) / days_D
        low, high = np.percentile(drawn_D, [2.5, 97.5])
        return {"rate": rate, "rate_low": float(low), "rate_high": float(high)}


def _day(found: dict[int, int]) -> list[int]:
    return [found.get(hour, 0) for hour in range(24)]

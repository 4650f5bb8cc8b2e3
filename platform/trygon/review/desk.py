"""A run under review: which events are left, what one shows, and what a person says of it.

Holds columns and the reviews, and writes each word to the log before it counts. Safe to be called from several
threads. Knows nothing of HTTP or pictures.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import uuid4

import numpy as np

from trygon.archive.naming.counts import count_of
from trygon.archive.run_folder.reviews import ReviewLog
from trygon.review.columns import Columns
from trygon.review.queue import Queue, View
from trygon.review.said import Review, Said
from trygon.review.taxa import TaxonSearch
from trygon.schemas import NAME_COLUMNS
from trygon.taxonomy.taxon import RANKS, Taxon

LIFE_STAGES, SEXES = ("adult", "subadult", "juvenile"), ("female", "male")
MOST_FRAMES = 60
_MOST_ALTERNATIVES = 6
_NEXT = timedelta(milliseconds=1)  # the log keeps no less
_KEPT = ("human", "vehicle")
"""What a name for the animals of an event is not said of."""


class Refused(ValueError):  # noqa: N818 - it is an answer, not a fault of the program
    """A word that cannot be taken; the text says why."""


class Overtaken(Refused):
    """Somebody else said something of the event since it was shown."""


@dataclass(frozen=True)
class Word:
    """What a person says: a type, and of an animal the taxon, where it is known."""

    by: str
    type: str
    taxon: dict[str, Any] | None = None
    """The name columns of an observation."""
    event_count: int | None = None
    life_stage: str | None = None
    sex: str | None = None


class Desk:
    """The state of a review."""

    def __init__(self, columns: Columns, reviews: Iterable[Review], taxa: TaxonSearch, log: ReviewLog) -> None:
        self.columns, self.taxa, self._log = columns, taxa, log
        earlier = list(reviews)
        self.said = Said(earlier)
        self._latest = max((said["reviewed_at"] for said in earlier), default=datetime.min.replace(tzinfo=UTC))
        self._queue = Queue(columns, self.said)
        self._mutex = threading.RLock()

    def page(self, view: View, after: int = -1, limit: int = 10, back: bool = False) -> dict[str, Any]:
        """The next events of a view, and progress: see `Queue.page`."""
        with self._mutex:
            return self._queue.page(view, after, limit, back)

    def progress(self) -> dict[str, int]:
        """How many events there are, and how many of them are reviewed."""
        with self._mutex:
            return self._queue.progress()

    def names(self) -> list[dict[str, Any]]:
        """All labels with the number of events that have them, the most frequent first."""
        with self._mutex:
            return self._queue.names()

    def place_of(self, event_id: int) -> int:
        """Where an event stands among all. `Refused` for one that the run does not have."""
        event = self.columns.event_ids.position(event_id)
        if event is None:
            raise Refused("this event is not in the run")
        return event

    def event(self, event_id: int, first: int = 0) -> dict[str, Any]:
        """What an event shows: labels, alternatives, and MOST_FRAMES of its frames from the given one on."""
        with self._mutex:
            event = self.place_of(event_id)
            rows = list(self.columns.rows_of(event))
            frames = self._frames(rows)
            about = self.columns.events.slice(event, 1).select(["deployment", "start", "end"]).to_pylist()[0]
            return {
                "id": str(event_id),
                "deployment": about["deployment"],
                "start": about["start"].isoformat(" ") if about["start"] else None,
                "end": about["end"].isoformat(" ") if about["end"] else None,
                "num_frames": len(frames),
                "first_frame": first,
                "labels": self._event_labels(rows),
                "alternatives": self._alternatives(rows),
                "lineage": self._lineage(rows),
                "frames": [self._frame(*frame) for frame in frames[first : first + MOST_FRAMES]],
                "reviewed": bool(self._queue.reviewed_E()[event]),
                "version": self._version(rows),
            }

    def _event_labels(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """What the event holds, with the largest number in a frame, or the count that a person gave."""
        labels = []
        for found in self._by_label(self._counting(rows)):
            sure = float(self.columns.probability_M[found].max())
            by = {said["reviewed_by"] for at in found if (said := self._queue.word(at))}
            label = self._queue.label(found[0]) | {"count": self._count(found), "reviewed_by": sorted(by)}
            labels.append(label | {"probability": None if by else sure, "num_boxes": len(found)})
        named = [label for label in labels if label["type"] != "blank"] or labels
        return sorted(named, key=lambda label: (-label["num_boxes"], label["scientific"]))

    def _counting(self, rows: Sequence[int]) -> list[int]:
        """Those that were not set aside, or were brought back."""
        return [at for at in rows if not self.columns.aside_M[at] or self._queue.decided_M[at]]

    def _speaking(self, rows: Sequence[int]) -> Sequence[int]:
        """Those that say what an event holds: what was set aside only where nothing else does."""
        return [at for at in self._counting(rows) if self._queue.label(at)["type"] != "blank"] or rows

    def _count(self, rows: Sequence[int]) -> int:
        columns, word = self.columns, self._queue.word
        return count_of(
            [
                {
                    "media_id": int(columns.media_M[at]),
                    "frame_number": int(columns.frame_M[at]),
                    "event_count": (word(at) or {}).get("event_count"),
                }
                for at in rows
            ]
        )

    def _frames(self, rows: Sequence[int]) -> list[tuple[int, int | None, list[int]]]:
        """The frames of an event with the observations in each: of a video all that were looked at, by their numbers.
        What is said of a whole video is in each of them."""
        of_media: dict[int, list[int]] = defaultdict(list)
        for at in rows:
            of_media[int(self.columns.media_M[at])].append(at)
        frames = []
        for media, found in of_media.items():
            for number in self.columns.frame_numbers(media):
                here = [at for at in found if number is None or self.columns.frame_M[at] in (-1, number)]
                frames.append((media, number, here))
        return frames

    def _alternatives(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """The taxa with the largest probability over the event that are not its labels."""
        called = cache(self.taxa.called)  # it looks through all taxa
        sums, told, total = Counter[str](), dict[str, dict[str, Any]](), 0.0
        for at in self._speaking(rows)[: 4 * MOST_FRAMES]:
            row = self.columns.row(at, [*RANKS, "top_scientific", "top_probability"])
            taxon = Taxon.from_row(row)
            for name, probability in zip(row["top_scientific"] or (), row["top_probability"] or (), strict=True):
                total += probability
                if found := called(name, taxon):
                    sums[found["key"]] += probability
                    told[found["key"]] = found
        known = {self._key(group[0]) for group in self._by_label(self._counting(rows))}
        best = [(key, share) for key, share in sums.most_common() if key not in known]
        return [told[key] | {"share": share / (total or 1)} for key, share in best[:_MOST_ALTERNATIVES]]

    def _key(self, at: int) -> str | None:
        """The key of the taxon that an observation is called."""
        names = self._names(at)
        taxon = self.taxa.called(names.get("scientific") or "", Taxon.from_row(names))
        return taxon["key"] if taxon else None

    def _names(self, at: int) -> Mapping[str, Any]:
        """What an observation is called, as its name columns."""
        return self._queue.word(at) or self.columns.row(at, NAME_COLUMNS)

    def _lineage(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """The clades above the event's most frequent animal."""
        animals = [at for at in self._speaking(rows) if self._queue.label(at)["type"] == "animal"]
        if not animals:
            return []
        ((number, _),) = Counter(self._queue.label_M[animals].tolist()).most_common(1)
        return self.taxa.lineage(self._names(next(at for at in animals if self._queue.label_M[at] == number)))

    def _version(self, rows: Sequence[int]) -> str:
        """Another one whenever a word on the event was said or taken back."""
        words = [said["review_id"] for at in rows if (said := self._queue.word(at))]
        return f"{len(words)}-{hash(tuple(words)) & 0xFFFFFFFF:08x}"

    def _frame(self, media: int, number: int | None, found: list[int]) -> dict[str, Any]:
        about = self.columns.media_row(media)
        return {
            "media": str(about["media_id"]),
            "number": number,
            "path": about["path"],
            "time": about["timestamp"].isoformat(" ") if about["timestamp"] else None,
            "width": about["width"],
            "height": about["height"],
            "observations": [self._observation(at) for at in found],
        }

    def _observation(self, at: int) -> dict[str, Any]:
        box = self.columns.box_M4[at].tolist()
        said = self._queue.word(at)
        return {
            "id": str(self.columns.table["observation_id"][at].as_py()),
            "box": None if np.isnan(box[0]) else [round(value, 5) for value in box],
            "label": self._queue.label(at),
            "probability": None if said else float(self.columns.probability_M[at]),
            "reviewed_by": said["reviewed_by"] if said else None,
            "set_aside": bool(self.columns.aside_M[at]) and not said,
        }

    def confirm(self, event_id: int, by: str, version: str) -> list[Review]:
        """Take all that the event holds and nobody named yet as it stands."""
        with self._mutex:
            rows = self._undecided(event_id)
            self._require_version(event_id, version)
            return self._write([self._kept(group, event_id, by) for group in self._by_label(rows)])

    def name_event(self, event_id: int, word: Word, version: str) -> list[Review]:
        """Say what the animals of an event are, or what it holds where it has none; the rest stands as it is.

        People and vehicles stay what they are beside animals, and frames without anything stay blank.
        """
        with self._mutex:
            self._require_version(event_id, version)
            rows = self._counting(self._rows(event_id)) or self._rows(event_id)
            kinds = {at: self._queue.label(at)["type"] for at in rows}
            named = [at for at in rows if kinds[at] not in (*_KEPT, "blank")]
            named = named or [at for at in rows if kinds[at] in _KEPT] or rows
            rest = [at for at in sorted(set(rows) - set(named)) if not self._queue.decided_M[at]]
            kept = [self._kept(group, event_id, word.by) for group in self._by_label(rest)]
            return self._write([self._row(named, event_id, word), *kept])

    def name_some(
        self, observation_ids: Sequence[int], word: Word, shown: tuple[int, str] | None = None
    ) -> list[Review]:
        """Say what some observations are, of any events. Where only frames without anything are left of an event then,
        they stay blank. `shown`: the event in which they were chosen, and its version."""
        with self._mutex:
            if shown:
                self._require_version(*shown)
            places = [self.columns.observation_ids.position(one) for one in observation_ids]
            rows = sorted({at for at in places if at is not None})
            if len(rows) < len(set(observation_ids)) or not rows:
                raise Refused("some of these observations are not in the run")
            events: dict[int, list[int]] = defaultdict(list)
            for at in rows:
                events[int(self.columns.event_of_M[at])].append(at)
            said = []
            for event, some in events.items():
                said.append(self._row(some, self.columns.event_id(event), word))
                said += self._blank_rest(event, set(some), word.by)
            return self._write(said)

    def _blank_rest(self, event: int, named: set[int], by: str) -> list[Review]:
        event_id = self.columns.event_id(event)
        rest = [at for at in self._undecided(event_id) if at not in named]
        if not rest or any(self._queue.label(at)["type"] != "blank" for at in rest):
            return []
        return [self._kept(rest, event_id, by)]

    def word_of(self, observation_id: int, by: str) -> Word:
        """What an observation is called, to say the same of others."""
        with self._mutex:
            at = self.columns.observation_ids.position(observation_id)
            if at is None:
                raise Refused("this observation is not in the run")
            names = self._names(at)
            return Word(by, names["type"], {name: names.get(name) for name in NAME_COLUMNS})

    def told(self, observation_ids: Sequence[int], but_event_of: int) -> list[dict[str, Any]]:
        """What some observations are, those of one's own event left out."""
        with self._mutex:
            own = self.columns.observation_ids.position(but_event_of)
            places = [self.columns.observation_ids.position(one) for one in observation_ids]
            event_of = self.columns.event_of_M
            kept = [at for at in places if at is not None and (own is None or event_of[at] != event_of[own])]
            deployments = self.columns.events["deployment"]
            return [self._observation(at) | {"deployment": deployments[int(event_of[at])].as_py()} for at in kept]

    def undo(self, review_ids: Sequence[str], by: str) -> list[Review]:
        """Take reviews back; those taken back already are passed over."""
        with self._mutex:
            standing = [said for one in review_ids if (said := self.said.standing(one))]
            about = {"reviewed_by": by, "reviewed_at": self._now()}
            undoing = [{"review_id": uuid4().hex, "undoes": said["review_id"]} | about for said in standing]
            self._write(undoing)
            return standing

    def _rows(self, event_id: int) -> list[int]:
        return list(self.columns.rows_of(self.place_of(event_id)))

    def _undecided(self, event_id: int) -> list[int]:
        rows = self._rows(event_id)
        counted = [at for at in rows if not self.columns.aside_M[at]]
        return [at for at in counted or rows if not self._queue.decided_M[at]]

    def _by_label(self, rows: Sequence[int]) -> list[list[int]]:
        groups: dict[int, list[int]] = defaultdict(list)
        for at in rows:
            groups[int(self._queue.label_M[at])].append(at)
        return list(groups.values())

    def _kept(self, rows: Sequence[int], event_id: int, by: str) -> Review:
        """The word that some observations are what they are called; what was set aside is nothing."""
        if self.columns.aside_M[rows[0]]:
            return self._row(rows, event_id, Word(by, "blank"))
        return self._row(rows, event_id, self.word_of(self.columns.table["observation_id"][rows[0]].as_py(), by))

    def _row(self, rows: Sequence[int], event_id: int, word: Word) -> Review:
        ids = [self.columns.table["observation_id"][at].as_py() for at in rows]
        names = (word.taxon or {}) if word.type == "animal" else {}
        review = {"review_id": uuid4().hex, "event_id": event_id, "observation_ids": ids} | names
        counted = word.type not in ("blank", "unknown")
        return review | {
            "type": word.type,
            "event_count": word.event_count if counted else None,
            "life_stage": word.life_stage if word.type == "animal" else None,
            "sex": word.sex if word.type == "animal" else None,
            "reviewed_by": word.by,
            "reviewed_at": self._now(),
        }

    def _write(self, reviews: list[Review]) -> list[Review]:
        if reviews:
            self._log.append(reviews)
            self._latest = max(said["reviewed_at"] for said in reviews)
        for review in reviews:
            self._queue.refresh(self.said.add(review))
        return reviews

    def _require_version(self, event_id: int, version: str) -> None:
        if version != self._version(self._rows(event_id)):
            raise Overtaken("somebody else reviewed this event meanwhile: here is how it stands now")

    def _now(self) -> datetime:
        """Never before what was said already, though this machine's clock went back: the last word counts."""
        return max(datetime.now(UTC), self._latest + _NEXT)

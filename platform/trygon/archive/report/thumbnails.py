"""The pictures of a run's page: which frames it shows, and the small copies that it shows them as.

A page of a million observations shows a few hundred frames: of every taxon a few, over the bands of its
name's probability.
"""

import random
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from PIL import Image

from trygon.archive.inputs.listing import Archive
from trygon.archive.media.pictures import People, output_picture
from trygon.archive.run_folder.database import KEY
from trygon.archive.run_folder.run import Run
from trygon.data.images import encode_jpeg

FOLDER = "pictures"
MOST = 400
"""Frames of animals in all: each has to be read again."""

MOST_OF_A_TAXON = 9
NUM_BLANKS = 6
_WIDTH_PX = 480
_READERS = 4
BANDS = (0.9, 0.7, 0.5, 0.0)
"""A taxon's frames are shown by the probability of its name: from so much on, the surest band first."""

_BAND = "".join(f"WHEN probability >= {low} THEN {number} " for number, low in enumerate(BANDS))
_CANDIDATES = f"""
WITH banded AS (
    SELECT {KEY} AS key, media_id, event_id, observation_id, coalesce(probability, 1) AS sure, CASE {_BAND} END AS band
    FROM observations WHERE type = 'animal'
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY key, band, event_id ORDER BY sure DESC, observation_id) AS again
    FROM banded
)
SELECT key, band, media_id, count(*) OVER (PARTITION BY key, band) AS num,
    row_number() OVER (PARTITION BY key, band ORDER BY again, sure DESC, observation_id) AS place
FROM ranked QUALIFY place <= {{most}}
ORDER BY key, place, least(band, {len(BANDS) - 1} - band) NULLS FIRST, band
"""
_IN = "media_id IN (SELECT media_id FROM chosen)"
# What counts no more, or is called nothing, keeps the type that it was predicted: that shows nobody. What is said of a
# frame and of no box in it, is said of all that it shows.
_TYPE = "coalesce(nullif(observations.type, 'blank'), predictions.type) AS type"
_BOXES = f"""
SELECT detections.*, {_TYPE}
FROM detections LEFT JOIN predictions USING (detection_id) LEFT JOIN observations USING (detection_id)
WHERE detections.{_IN}
UNION ALL BY NAME
SELECT predictions.media_id, predictions.frame_number, '' AS category, 0 AS x, 0 AS y, 1 AS width, 1 AS height, {_TYPE}
FROM predictions LEFT JOIN observations USING (observation_id)
WHERE predictions.detection_id IS NULL AND predictions.{_IN}
"""


class Band(NamedTuple):
    """Frames of a taxon whose name has a probability from `low` to below `high`; both None where it has none, as where
    a person gave it. `num` detections are so sure, those on the frames that are shown among them, if any are."""

    low: float | None
    high: float | None
    num: int
    media_ids: list[int]


def choose(run: Run, keys: Sequence[str]) -> dict[str, list[Band]]:
    """Frames to show for each taxon, by its key: in turn one of each band, the surest and the most doubtful first, and
    one frame an event where a band has several.

    The more taxa, the fewer frames each; `keys` has the important ones first.
    """
    each = max(1, min(MOST_OF_A_TAXON, MOST // max(1, len(keys))))
    found: dict[str, dict[int, int | None]] = {}
    nums: dict[tuple[str, int | None], int] = {}
    for row in run.rows(_CANDIDATES.format(most=each)):
        frames = found.setdefault(row["key"], {})
        nums[row["key"], row["band"]] = row["num"]
        if len(frames) < each:
            frames.setdefault(row["media_id"], row["band"])
    return {key: _banded(found[key], nums, key) for key in keys[:MOST] if key in found}


def _banded(frames: dict[int, int | None], nums: dict[tuple[str, int | None], int], key: str) -> list[Band]:
    bands = []
    for number in (None, *range(len(BANDS))):
        if num := nums.get((key, number)):
            low = None if number is None else BANDS[number]
            high = None if number is None else (1.0, *BANDS)[number]
            media_ids = [media_id for media_id, band in frames.items() if band == number]
            bands.append(Band(low, high, num, media_ids))
    return bands


def blanks(run: Run) -> list[int]:
    """A few blank frames, to look for what was missed."""
    ids = [row["media_id"] for row in run.rows(_BLANKS)]
    return sorted(random.Random(0).sample(ids, min(NUM_BLANKS, len(ids))))


_BLANKS = "SELECT media_id FROM observations WHERE type = 'blank' ORDER BY hash(media_id), media_id LIMIT 100"


def write_pictures(run: Run, archive: Archive, ids: Iterable[int], folder: Path) -> dict[int, dict[str, Any]]:
    """Write small copies of frames; by their ids, `media`, `picture` (blank where there is none), size, `animals`.

    People in them are treated as the run was told to.
    """
    chosen = pa.table({"media_id": pa.array(sorted(set(ids)), pa.int64())})
    media = {row["media_id"]: row for row in run.rows(f"FROM media WHERE {_IN}", chosen=chosen)}
    boxes: dict[int, list[dict[str, Any]]] = {media_id: [] for media_id in media}
    animals: dict[int, list[dict[str, Any]]] = {media_id: [] for media_id in media}
    for row in run.rows(_BOXES, chosen=chosen):
        boxes[row["media_id"]].append(row)
    seen = f"SELECT {KEY} AS key, * FROM sightings WHERE detection_id IS NOT NULL AND {_IN} ORDER BY confidence DESC"
    for row in run.rows(seen, chosen=chosen):
        animals[row["media_id"]].append(row)
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    people = People(run.config["people"])

    def show(media_id: int) -> dict[str, Any]:
        seen = animals[media_id]
        number: int | None = seen[0]["frame_number"] if seen else None
        seen = [row for row in seen if row["frame_number"] == number]  # of a video, the frame with the surest box
        image = output_picture(archive, media[media_id], boxes[media_id], people, _WIDTH_PX, number)
        return _written(image, media_id, folder) | {"media": media[media_id], "animals": seen}

    with ThreadPoolExecutor(_READERS) as pool:
        return dict(zip(media, pool.map(show, media), strict=True))


def _written(image: Image.Image | None, media_id: int, folder: Path) -> dict[str, Any]:
    if image is None:
        return {"picture": "", "width": _WIDTH_PX, "height": _WIDTH_PX * 3 // 4}
    height = max(1, round(_WIDTH_PX * image.height / image.width))
    name = f"{FOLDER}/{media_id}.jpg"
    (folder / name).write_bytes(encode_jpeg(image.resize((_WIDTH_PX, height)), quality=76))
    return {"picture": name, "width": _WIDTH_PX, "height": height}

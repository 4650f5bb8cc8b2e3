"""Animals of a video are counted by the frame, not over its frames: in the review and in exports."""

import csv
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from trygon.archive.exports import EXPORTS, ExportOptions
from trygon.archive.naming.counts import count_of
from trygon.archive.run_folder.reviews import ReviewLog
from trygon.archive.run_folder.run import Run
from trygon.lease import Hold
from trygon.review.columns import Columns
from trygon.review.desk import Desk, Word
from trygon.review.taxa import TaxonSearch
from trygon.taxonomy.taxon import RANKS
from trygon.testing.runs import TREE
from trygon.testing.shots import Seen, Shot, write_run

FOX, DEER = (next(taxon for taxon in TREE.taxa if taxon.common == name) for name in ("red fox", "roe deer"))
CLIP = {"kind": "video", "frames": [0, 10, 20, 30]}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A fox in three frames of a video, once with a second one, once with a deer; and a blank video."""
    foxes = [Seen("animal", FOX, frame_number=number) for number in (0, 10, 10, 20)]
    deer = Seen("animal", DEER, frame_number=20)
    noon = datetime(2024, 5, 31, 12)
    shots = [Shot("a/1.avi", noon, [*foxes, deer], about=CLIP), Shot("a/2.avi", noon.replace(hour=14), about=CLIP)]
    return write_run(tmp_path / "run", shots)


def _desk(run: Run) -> Desk:
    return Desk(Columns.of(run), [], TaxonSearch(TREE), ReviewLog(run.folder, Hold()))


def _event(desk: Desk, run: Run, path: str = "a/1.avi") -> dict[str, Any]:
    sql = f"SELECT any_value(event_id) AS id FROM sightings WHERE path = '{path}'"
    return desk.event(run.row(sql)["id"])


def _counts(event: dict[str, Any]) -> dict[str, int]:
    return {label["common"]: label["count"] for label in event["labels"]}


def _exported(run: Run, out: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The counts of the first video, by name: Timelapse's, and Wildlife Insights'."""
    found = []
    for name, file in (("timelapse", "timelapse.csv"), ("wildlife-insights", "images.csv")):
        EXPORTS[name](run, out / name, ExportOptions())
        with (out / name / file).open(newline="", encoding="utf-8") as lines:
            found.append(list(csv.DictReader(lines)))
    timelapse = {row["Species"]: row["Count"] for row in found[0] if row["File"] == "1.avi"}
    insights = {row["common_name"]: row["number_of_objects"] for row in found[1] if row["location"] == "a/1.avi"}
    return timelapse, insights


def test_largest_number_in_one_frame_counts_unless_a_person_counted() -> None:
    rows = [{"media_id": 1, "frame_number": number, "event_count": None} for number in (0, 10, 10, 20)]
    assert count_of(rows) == 2
    assert count_of([*rows, {"media_id": 1, "frame_number": 20, "event_count": 5}]) == 5
    assert count_of([row | {"frame_number": None} for row in rows]) == 4


def test_event_shows_the_frames_of_a_video_with_the_boxes_of_each(run: Run) -> None:
    event = _event(_desk(run), run)
    assert (event["num_frames"], [frame["number"] for frame in event["frames"]]) == (4, [0, 10, 20, 30])
    assert [len(frame["observations"]) for frame in event["frames"]] == [1, 2, 2, 0]
    assert _counts(event) == {"red fox": 2, "roe deer": 1}


def test_frames_of_a_blank_video_are_all_shown_with_what_is_said_of_it(run: Run) -> None:
    desk = _desk(run)
    event = _event(desk, run, "a/2.avi")
    assert [frame["number"] for frame in event["frames"]] == [0, 10, 20, 30]
    (one,) = {one["id"] for frame in event["frames"] for one in frame["observations"]}
    desk.name_some([int(one)], Word("Ana", "animal", {"scientific": "Canis lupus", "common": "wolf"}))
    assert _counts(_event(desk, run, "a/2.avi")) == {"wolf": 1}


def test_exports_count_what_review_shows_and_what_a_person_counted(run: Run, tmp_path: Path) -> None:
    assert _exported(run, tmp_path) == ({"red fox": "2"}, {"red fox": "2", "roe deer": "1"})
    desk = _desk(run)
    ids = [
        int(one["id"])
        for frame in _event(desk, run)["frames"]
        for one in frame["observations"]
        if one["label"]["common"] == "red fox"
    ]
    fox = {"scientific": "Vulpes vulpes", "common": "red fox", "rank": "species"}
    fox |= dict(zip(RANKS, FOX.lineage, strict=True))
    desk.name_some(ids, Word("Ana", "animal", fox, event_count=3))
    assert _counts(_event(desk, run)) == {"red fox": 3, "roe deer": 1}
    again = Run.open(run.folder)
    assert _exported(again, tmp_path) == ({"red fox": "3"}, {"red fox": "3", "roe deer": "1"})


def test_annotations_of_a_video_say_which_frame_they_are_in(run: Run, tmp_path: Path) -> None:
    EXPORTS["coco"](run, tmp_path, ExportOptions())
    content = json.loads((tmp_path / "coco-camera-traps.json").read_text())
    assert sorted(row.get("frame_number", -1) for row in content["annotations"]) == [-1, 0, 10, 10, 20, 20]

"""What an event is called holds for the boxes in it: on the page, when it is confirmed, and after a part of it is."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trygon.archive.exports import EXPORTS, ExportOptions
from trygon.archive.naming.event_names import under_event_names
from trygon.archive.run_folder.labelling import Naming
from trygon.archive.run_folder.reviews import ReviewLog, read_reviews
from trygon.archive.run_folder.run import Run
from trygon.labelling.classification import Classifier
from trygon.lease import Hold
from trygon.review.columns import Columns
from trygon.review.desk import Desk, Word
from trygon.review.queue import View
from trygon.review.taxa import TaxonSearch
from trygon.schemas import EVENT, OBSERVATION
from trygon.storage import read_json
from trygon.taxonomy.taxon import RANKS
from trygon.testing.bursts import BANK, PLACE, TREE, box, write_burst

BURST = ([box(lion=0.8)], [box(jaguar=0.5)], [box(lion=0.8)])
"""A lion that one frame takes for a jaguar: its boxes are 1000, 2000 and 3000."""

LION_AND_WOLF = [[box(0.1, lion=0.9), box(0.6, wolf=0.8)]] * 2


def _desk(run: Run) -> Desk:
    return Desk(
        Columns.of(run), read_reviews(run.folder).to_pylist(), TaxonSearch(TREE), ReviewLog(run.folder, Hold())
    )


def _event(desk: Desk) -> dict[str, Any]:
    (row,) = desk.page(View(state="all"))["events"]
    return desk.event(int(row["id"]))


def test_what_is_set_aside_stays_what_it_was(tmp_path: Path) -> None:
    run = write_burst(tmp_path, *BURST)
    rows = [row | {"set_aside": "blank" if row["common"] == "jaguar" else None} for row in run.predictions.to_pylist()]
    named = under_event_names(pa.Table.from_pylist(rows, OBSERVATION), run.events["taxa"])
    assert named["common"].to_pylist() == ["lion", "jaguar", "lion"]


def _held(run: Run) -> list[tuple[Any, ...]]:
    rows = Run.open(run.folder).rows(
        "SELECT common, count, reviewed_by, observation_ids FROM event_taxa ORDER BY number"
    )
    return [(row["common"], row["count"], row["reviewed_by"], row["observation_ids"]) for row in rows]


def test_event_is_shown_and_confirmed_under_its_pooled_name(tmp_path: Path) -> None:
    run = write_burst(tmp_path, *BURST)
    desk = _desk(run)
    event = _event(desk)
    (label,) = event["labels"]
    assert (label["common"], label["count"], label["num_boxes"]) == ("lion", 1, 3)
    assert label["probability"] == pytest.approx(run.events["taxa"][0].as_py()[0]["probability"])
    assert {one["label"]["common"] for frame in event["frames"] for one in frame["observations"]} == {"lion"}
    assert "Panthera onca" in {taxon["scientific"] for taxon in event["alternatives"]}
    assert {name["common"]: name["num_events"] for name in desk.names()} == {"lion": 1}
    (said,) = desk.confirm(int(event["id"]), "Ana", event["version"])
    assert (said["scientific"], sorted(said["observation_ids"])) == ("Panthera leo", [1000, 2000, 3000])
    assert _held(run) == [("lion", 1, "Ana", [1000, 2000, 3000])]
    assert set(Run.open(run.folder).observations["scientific"].to_pylist()) == {"Panthera leo"}


def test_camtrap_dp_lists_names_that_only_an_event_has(tmp_path: Path) -> None:
    """Either frame alone is a cat of one kind, both together are some cat."""
    run = write_burst(tmp_path, [box(lion=0.8)], [box(jaguar=0.8)])
    assert {row["scientific"] for row in run.rows("FROM event_taxa")} == {"Panthera"}
    EXPORTS["camtrap-dp"](run, tmp_path / "dp", ExportOptions())
    listed = {it["scientificName"] for it in read_json(tmp_path / "dp/datapackage.json")["taxonomic"]}
    assert listed == {"Panthera", "Panthera leo", "Panthera onca"}


def test_boxes_that_nobody_named_count_as_what_their_event_calls_them(tmp_path: Path) -> None:
    run = write_burst(tmp_path, *BURST)
    desk = _desk(run)
    desk.name_some([1000], desk.word_of(1000, "Ana"))
    assert _held(run) == [("lion", 1, "Ana", [1000, 2000, 3000])]
    alone = {row["observation_id"]: row["common"] for row in Run.open(run.folder).observations.to_pylist()}
    assert alone[2000] == "jaguar"  # what the frame alone says stays in its own row


def test_animal_that_is_rejected_leaves_its_event(tmp_path: Path) -> None:
    run = write_burst(tmp_path / "run", *LION_AND_WOLF)
    assert [row[0] for row in _held(run)] == ["lion", "wolf"]
    desk = _desk(run)
    said = desk.name_some([1001, 2001], Word("Ana", "blank"))
    assert _held(run) == [("lion", 1, None, [1000, 2000])]
    EXPORTS["camtrap-dp"](Run.open(run.folder), tmp_path / "dp", ExportOptions())
    with (tmp_path / "dp/observations.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["observationLevel"] == "event"]
    assert [(row["scientificName"], row["classificationMethod"]) for row in rows] == [("Panthera leo", "machine")]
    desk.undo([row["review_id"] for row in said], "Ana")
    assert _held(run) == _held(write_burst(tmp_path / "other", *LION_AND_WOLF))


def test_what_is_left_of_an_event_is_pooled_again_when_the_run_is_named_again(tmp_path: Path) -> None:
    """Both boxes that outweigh the third are rejected; later one of them is taken back."""
    run = write_burst(tmp_path, *BURST)
    desk = _desk(run)
    said = desk.name_some([1000, 3000], Word("Ana", "blank"))
    assert _held(run) == [("lion", 1, None, [2000])]
    run = write_burst(tmp_path, *BURST)
    assert _held(run) == [("jaguar", 1, None, [2000])]
    (own,) = [row for row in run.predictions.to_pylist() if row["observation_id"] == 2000]
    pooled = run.row("SELECT probability FROM event_taxa")["probability"]
    assert pooled == pytest.approx(own["probability"], abs=1e-6)
    desk = _desk(Run.open(run.folder))
    (label,) = [label for label in _event(desk)["labels"] if not label["reviewed_by"]]
    assert (label["common"], label["probability"]) == ("jaguar", pytest.approx(pooled))
    desk.undo([row["review_id"] for row in said], "Ana")
    assert _held(run) == [("lion", 1, None, [1000, 2000, 3000])]
    desk = _desk(Run.open(run.folder))
    assert {one["label"]["common"] for frame in _event(desk)["frames"] for one in frame["observations"]} == {"lion"}
    desk.name_some([1000], Word("Ana", "blank"))
    assert _held(run) == [("lion", 1, None, [2000, 3000])]


def test_box_that_is_named_otherwise_says_nothing_of_the_others(tmp_path: Path) -> None:
    frames = [box(lion=0.6, jaguar=0.4)], [box(wolf=0.6, lion=0.2)], [box(lion=0.6, jaguar=0.4)]
    run = write_burst(tmp_path, *frames)
    assert _held(run) == [("lion", 1, None, [1000, 2000, 3000])]
    lineage = dict(zip(RANKS, TREE.taxon(PLACE["wolf"]).lineage, strict=True))
    wolf = Word("Ana", "animal", lineage | {"rank": "species", "scientific": "Canis lupus", "common": "wolf"})
    _desk(run).name_some([2000], wolf)
    run = write_burst(tmp_path, *frames)
    assert sorted(_held(run)) == [("lion", 1, None, [1000, 3000]), ("wolf", 1, "Ana", [2000])]
    (alone,) = [row for row in run.predictions.to_pylist() if row["observation_id"] == 1000]
    lion = run.row("SELECT probability FROM event_taxa WHERE common = 'lion'")
    assert lion["probability"] == pytest.approx(alone["probability"], abs=1e-6)
    # What a person confirms still speaks for the others.
    other = write_burst(tmp_path / "other", *BURST)
    desk = _desk(other)
    desk.name_some([1000, 3000], desk.word_of(1000, "Ana"))
    assert _held(write_burst(tmp_path / "other", *BURST)) == [("lion", 1, "Ana", [1000, 2000, 3000])]


def test_what_is_set_aside_says_nothing_of_its_event(tmp_path: Path) -> None:
    """A stump that is taken for a wolf in all frames of a place, in three of which a lion is."""
    stump, lion = box(0.7, wolf=0.95), box(0.1, lion=0.6, wolf=0.4)
    frames = [[stump, lion] if at in (12, 13, 14) else [stump] for at in range(30)]
    run = write_burst(tmp_path, *frames, burst=3, naming=Naming(Classifier(BANK), repeats=20))
    assert [held for held in _held(run) if held[0]] == [("lion", 1, None, [13001, 14001, 15001])]
    desk = _desk(run)
    event = desk.event(run.row("SELECT event_id FROM event_taxa WHERE common = 'lion'")["event_id"])
    assert [label["common"] for label in event["labels"]] == ["lion"]
    assert [clade["scientific"] for clade in event["lineage"]][-1] == "Panthera leo"
    (alone,) = [row for row in run.predictions.to_pylist() if row["observation_id"] == 13001]
    own = dict(zip(alone["top_scientific"], alone["top_probability"], strict=True))
    shares = {taxon["scientific"]: taxon["share"] for taxon in event["alternatives"]}
    assert shares["Canis lupus"] == pytest.approx(own["Canis lupus"], abs=1e-5)
    empty = desk.event(run.row("SELECT event_id FROM event_taxa WHERE type = 'blank' LIMIT 1")["event_id"])
    assert "Canis lupus" in {taxon["scientific"] for taxon in empty["alternatives"]}  # to bring it back


def test_box_that_shows_no_taxon_of_its_event_is_blank_and_what_does_not_count_stays() -> None:
    """Two boxes of an animal that is nothing by what all of them say together; one set aside; a blank frame."""
    named = {"event_id": 1, "type": "animal", "scientific": "Panthera", "probability": 0.6, "decided_by": "rollup"}
    rows = [named | {"observation_id": number, "media_id": number, "detection_id": number} for number in (1, 2, 3)]
    rows[2]["set_aside"] = "repeated"
    rows.append({"observation_id": 4, "media_id": 4, "event_id": 1, "type": "blank", "decided_by": "detector"})
    blank = {"type": "blank", "decided_by": "detector", "observation_ids": []}
    taxa = pa.chunked_array([[[blank]]], EVENT.field("taxa").type)
    found = under_event_names(pa.Table.from_pylist(rows, OBSERVATION), taxa)
    assert found.schema.equals(OBSERVATION)
    assert [(row["type"], row["scientific"], row["decided_by"]) for row in found.to_pylist()] == [
        *[("blank", None, "classifier")] * 2,
        ("animal", "Panthera", "rollup"),
        ("blank", None, "detector"),
    ]


_frames = st.lists(st.lists(st.tuples(st.floats(0, 0.7), st.sampled_from(["lion", "jaguar", "wolf", "human"])),
                            max_size=3), min_size=1, max_size=6)  # fmt: skip


@settings(max_examples=15)
@given(_frames, st.sampled_from([1, 100]), st.integers(1, 3))
def test_every_box_shows_one_taxon_which_has_as_many_as_one_frame_shows(
    tmp_path_factory: pytest.TempPathFactory, frames: list[Any], gap: int, part_size: int
) -> None:
    boxes = [[box(left, "animal", 0.9, **{name: 0.7}) for left, name in frame] for frame in frames]
    run = write_burst(tmp_path_factory.mktemp("run"), *boxes, gap=gap, part_size=part_size)
    taxa = [taxon for event in run.events["taxa"].to_pylist() for taxon in event]
    expected = [1000 * (number + 1) + n for number, frame in enumerate(boxes) for n in range(len(frame))]
    assert sorted(one for taxon in taxa for one in taxon["observation_ids"]) == expected
    for taxon in taxa:
        counts = Counter(one // 1000 for one in taxon["observation_ids"])
        assert taxon["count"] == (max(counts.values()) if counts else None)

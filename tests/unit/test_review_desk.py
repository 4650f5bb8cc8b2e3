"""The review without a browser: the queue, what is said and what is refused, without the server."""

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyarrow.dataset import field
from reviewing import TAXA, copy_run, desk_of, names_of, standing

from trygon.archive.run_folder.labelling import Naming, finish
from trygon.archive.run_folder.reviews import ReviewLog, read_reviews
from trygon.archive.run_folder.run import Run
from trygon.labelling.classification import Classifier
from trygon.labelling.examples import lineage_of
from trygon.lease import Hold
from trygon.review.columns import Columns
from trygon.review.desk import Desk, Overtaken, Refused, Word
from trygon.review.examples import write_examples
from trygon.review.pictures import Pictures
from trygon.review.queue import View
from trygon.review.said import Said
from trygon.review.taxa import TaxonSearch
from trygon.taxonomy.taxon import RANKS, Rank, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.runs import bank, write_tiny_run

WOLF = {"type": "animal", "scientific": "Canis lupus", "common": "wolf", "rank": "species", "genus": "Canis"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_tiny_run(tmp_path_factory.mktemp("template"), 12).folder).parent


@pytest.fixture
def run(template: Path, tmp_path: Path) -> Run:
    return copy_run(template, tmp_path)


def _events(desk: Desk, **view: Any) -> list[dict[str, Any]]:
    return [desk.event(int(row["id"])) for row in desk.page(View(**view), limit=100)["events"]]


def test_last_word_counts_when_the_clock_went_back(run: Run) -> None:
    """As on a field laptop whose battery was empty."""
    desk = desk_of(run)
    (one, *_) = desk.columns.table.filter(field("type") == "animal")["observation_id"].to_pylist()
    (early,) = desk.name_some([one], Word("Ana", "human"))
    ahead = early | {
        "review_id": "ahead",
        "type": "vehicle",
        "reviewed_at": early["reviewed_at"] + timedelta(days=400),
    }
    ReviewLog(run.folder, Hold()).append([ahead])
    assert standing(run)[one]["type"] == "vehicle"
    desk = desk_of(run)
    said = [desk.name_some([one], Word("Ana", kind))[0]["review_id"] for kind in ("animal", "human")]
    assert standing(run)[one]["type"] == "human"
    desk.undo(said[1:], "Ana")
    assert standing(run)[one]["type"] == "animal"
    assert [it["review_id"] for it in read_reviews(run.folder).to_pylist()][1:4] == ["ahead", *said]


def test_events_come_in_order_with_their_frames(run: Run) -> None:
    events = _events(desk_of(run))
    assert [event["deployment"] for event in events] == ["a"] * 5 + ["b"] * 5
    assert [event["start"] for event in events[:3]] == [
        "2024-05-31 12:00:00",
        "2024-05-31 12:10:03",
        "2024-05-31 12:20:06",
    ]
    first = events[0]
    assert [frame["path"][-6:-4] for frame in first["frames"]] == ["00", "01", "02"]
    assert [len(frame["observations"]) for frame in first["frames"]] == [1, 1, 1]
    assert first["frames"][0]["observations"][0]["box"] == pytest.approx([0.3125, 0.33333, 0.25, 0.33333], abs=0.01)
    assert first["frames"][2]["observations"][0]["box"] is None
    assert names_of(first) == [("animal", "red fox", 1)]
    assert {label for label, _, _ in names_of(events[5])} == {"human", "animal"}
    assert [taxon["scientific"] for taxon in first["lineage"]][-3:] == ["Canidae", "Vulpes", "Vulpes vulpes"]
    assert "red fox" not in {taxon["common"] for taxon in first["alternatives"]}


def test_pages_follow_each_other_and_filters_hold(run: Run) -> None:
    desk = desk_of(run)
    first = desk.page(View(), limit=4)
    rest = desk.page(View(), after=first["events"][-1]["place"], limit=100)
    assert (len(first["events"]), len(rest["events"]), rest["left"]) == (4, 6, 10)
    back = desk.page(View(), after=rest["events"][0]["place"], limit=1, back=True)
    assert back["events"] == first["events"][-1:]
    assert {event["deployment"] for event in _events(desk, deployment="b")} == {"b"}
    numbers = {(name["type"], name["scientific"]): name["number"] for name in desk.names()}
    assert len(_events(desk, label=numbers["human", ""])) == 1
    animals = [_events(desk, label=numbers["animal", it]) for it in ("Vulpes vulpes", "Capreolus capreolus")]
    assert sum(map(len, animals)) == 10
    assert _events(desk, label=99) == _events(desk, state="reviewed") == _events(desk, sure=0.3) == []
    unsure = [event["labels"][0]["probability"] or 1 for event in _events(desk, order="unsure")]
    assert len(unsure) == 10
    assert {name["common"]: name["num_events"] for name in desk.names() if name["common"]} == {
        "red fox": 4,
        "roe deer": 6,
    }


def test_confirmed_event_is_done_and_survives_a_restart(run: Run) -> None:
    desk = desk_of(run)
    event = _events(desk)[0]
    said = desk.confirm(int(event["id"]), "Ana", event["version"])
    assert [(row["type"], row.get("scientific")) for row in said] == [
        ("animal", "Vulpes vulpes"),
        ("blank", None),
    ]
    for again in (desk, desk_of(run)):
        assert again.progress() == {"num_events": 10, "num_reviewed": 1}
        assert event["id"] not in {other["id"] for other in _events(again)}
        assert [other["id"] for other in _events(again, state="reviewed")] == [event["id"]]
    assert {row["reviewed_by"] for row in standing(run).values()} == {"Ana", None}
    assert desk.confirm(int(event["id"]), "Ana", desk.event(int(event["id"]))["version"]) == []


def test_a_name_is_given_to_the_animals_and_people_stay_people(run: Run) -> None:
    desk = desk_of(run)
    event = _events(desk)[5]
    said = desk.name_event(int(event["id"]), Word("Ana", "animal", WOLF, 3, "adult", "male"), event["version"])
    assert [row["type"] for row in said] == ["animal", "human", "blank"]
    after = desk.event(int(event["id"]))
    assert set(names_of(after)) == {("animal", "wolf", 3), ("human", "", 1)}
    assert after["reviewed"]
    rows = [row for row in standing(run).values() if row["event_id"] == int(event["id"])]
    wolf = next(row for row in rows if row["scientific"] == "Canis lupus")
    assert (wolf["event_count"], wolf["life_stage"], wolf["sex"], wolf["genus"]) == (3, "adult", "male", "Canis")


def test_blank_takes_all_boxes_and_a_blank_event_can_get_an_animal(run: Run) -> None:
    desk = desk_of(run)
    event = _events(desk)[0]
    desk.name_event(int(event["id"]), Word("Ana", "blank"), event["version"])
    assert names_of(desk.event(int(event["id"]))) == [("blank", "", 1)]
    rows = [row for row in standing(run).values() if row["event_id"] == int(event["id"])]
    assert [(row["type"], row["detection_id"]) for row in rows] == [("blank", None)] * 3
    desk.name_event(int(event["id"]), Word("Bo", "animal", WOLF), desk.event(int(event["id"]))["version"])
    assert names_of(desk.event(int(event["id"]))) == [("animal", "wolf", 1)]


def test_some_boxes_of_several_events_are_named_and_all_is_taken_back(run: Run) -> None:
    desk = desk_of(run)
    before = standing(run)
    events = _events(desk)
    ids = [int(event["frames"][0]["observations"][0]["id"]) for event in (events[0], events[1])]
    said = desk.name_some(ids, Word("Ana", "animal", WOLF))
    for event, other in zip(events, ("red fox", "roe deer"), strict=False):
        assert {name for _, name, _ in names_of(desk.event(int(event["id"])))} == {"wolf", other}
    assert desk.progress()["num_reviewed"] == 0
    assert len(desk.undo([row["review_id"] for row in said], "Bo")) == 2
    assert desk.undo([row["review_id"] for row in said], "Bo") == []
    assert standing(run) == before
    with pytest.raises(Refused, match="not in the run"):
        desk.name_some([ids[0], 5], Word("Ana", "blank"))


def test_last_animals_of_an_event_complete_it(run: Run) -> None:
    desk = desk_of(run)
    event = _events(desk)[0]
    ids = [int(one["id"]) for frame in event["frames"] for one in frame["observations"] if one["box"]]
    desk.name_some(ids, Word("Ana", "animal", WOLF))
    assert desk.event(int(event["id"]))["reviewed"]


def test_second_of_two_reviewers_is_told(run: Run) -> None:
    desk = desk_of(run)
    event = _events(desk)[0]
    desk.confirm(int(event["id"]), "Ana", event["version"])
    with pytest.raises(Overtaken, match="somebody else"):
        desk.name_event(int(event["id"]), Word("Bo", "blank"), event["version"])
    one = int(event["frames"][0]["observations"][0]["id"])
    with pytest.raises(Overtaken):
        desk.name_some([one], Word("Bo", "blank"), (int(event["id"]), event["version"]))
    assert {row["reviewed_by"] for row in read_reviews(run.folder).to_pylist()} == {"Ana"}


def test_what_the_run_set_aside_is_shown_and_confirmed_as_nothing(run: Run) -> None:
    table = run.predictions
    aside = ["repeated" if kind == "animal" and at < 3 else None for at, kind in enumerate(table["type"].to_pylist())]
    at = table.column_names.index("set_aside")
    object.__setattr__(run, "predictions", table.set_column(at, table.schema.field(at), [aside]))
    columns = Columns.of(run)
    desk = Desk(columns, [], TAXA, ReviewLog(run.folder, Hold()))
    assert columns.aside_M.sum() == sum(one is not None for one in aside) > 0
    events = _events(desk, state="set_aside")
    assert events
    one = next(one for frame in events[0]["frames"] for one in frame["observations"] if one["set_aside"])
    desk.name_some([int(one["id"])], Word("Ana", "animal", WOLF))
    assert "wolf" in {name for _, name, _ in names_of(desk.event(int(events[0]["id"])))}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 3), max_size=3)), max_size=10), st.data())
def test_the_last_word_that_was_not_taken_back_stands(words: list[tuple[str, list[int]]], data: st.DataObject) -> None:
    reviews = [{"review_id": str(at), "observation_ids": ids, "type": kind} for at, (kind, ids) in enumerate(words)]
    undone = data.draw(st.sets(st.sampled_from([row["review_id"] for row in reviews]))) if reviews else set()
    said = Said([*reviews, *({"review_id": f"u{one}", "undoes": one} for one in undone)])
    for one in range(4):
        left = [row for row in reviews if one in row["observation_ids"] and row["review_id"] not in undone]
        assert said.of(one) == (left[-1] if left else None)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("red fox", "Vulpes vulpes"), ("FOX", "Vulpes vulpes"), ("vulpes l", "Vulpes lagopus"), ("canid", "Canidae"),
        ("Canis", "Canis"), ("lup", "Canis lupus"), ("mamm", "Mammalia"), ("  roe   deer ", "Capreolus capreolus"),
    ],
)  # fmt: skip
def test_taxa_are_found_as_people_type_them(text: str, first: str) -> None:
    found = TAXA.find(text)
    assert found[0]["scientific"] == first
    taxon = TAXA.taxon(found[0]["key"])
    assert taxon is not None
    assert taxon.scientific == first


def test_keys_that_are_none_are_no_taxa() -> None:
    assert [TAXA.taxon(key) for key in ("", "7:0", "5:99", "x", "5:", "-1:0", "²:0")] == [None] * 7
    assert TAXA.find("") == TAXA.find("xyzzy") == []
    nothing = Taxon.from_row({})
    assert TAXA.called("Canidae", nothing) == TAXA.find("canidae")[0]
    assert TAXA.called("Nobody", nothing) is None


def test_homonyms_are_told_apart_by_their_lineage() -> None:
    animal = Taxon(("Animalia", "Chordata", "Aves", "A", "B", "Prunella", "modularis"), "dunnock")
    plant = Taxon(("Plantae", "Tracheophyta", "Magnoliopsida", "C", "D", "Prunella", "vulgaris"), "selfheal")
    taxa = TaxonSearch(TaxonTree.from_taxa([animal, plant]))
    assert len([taxon for taxon in taxa.find("prunella") if taxon["rank"] == "genus"]) == 2
    for taxon in (animal, plant):
        names = dict(zip(RANKS, taxon.at(5).lineage, strict=True))  # pyright: ignore[reportArgumentType]
        assert taxa.lineage(names)[0]["scientific"] == taxon.lineage[0]
        found = taxa.called("Prunella", taxon)
        assert found
        assert taxa.taxon(found["key"]) == taxon.at(Rank.GENUS)
    bug = Taxon(("Animalia", "Arthropoda", "Insecta", "Hemiptera", "Coreidae", "Acanthocephala", ""))
    worm = Taxon(("Animalia", "Acanthocephala", "A", "B", "C", "Moniliformis", "moniliformis"))
    taxa = TaxonSearch(TaxonTree.from_taxa([bug, worm]))
    row = dict(zip(RANKS, bug.lineage, strict=True))
    assert [it["scientific"] for it in taxa.lineage(row)] == list(bug.lineage[:6])


MORUS = (
    Taxon(("Animalia", "Chordata", "Aves", "Suliformes", "Sulidae", "Morus", "")),
    Taxon(("Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Moraceae", "Morus", "")),
)


def test_homonyms_are_labels_examples_and_taxa_of_their_own(run: Run, tmp_path: Path) -> None:
    desk = desk_of(run)
    events = _events(desk)[:2]
    for event, taxon in zip(events, MORUS, strict=True):
        names = dict(zip(RANKS, taxon.lineage, strict=True)) | {"rank": "genus", "scientific": "Morus"}
        desk.name_event(int(event["id"]), Word("Ana", "animal", names), event["version"])
    labels = [label for label in desk.names() if label["scientific"] == "Morus"]
    assert {(label["within"], label["num_events"]) for label in labels} == {
        ("Aves › Suliformes › Sulidae", 1),
        ("Magnoliopsida › Rosales › Moraceae", 1),
    }
    shown = [_events(desk, state="all", label=label["number"]) for label in labels]
    assert sorted(event["id"] for some in shown for event in some) == sorted(event["id"] for event in events)
    again = Run.open(run.folder)
    columns = Columns.of(again)
    assert write_examples(again, columns, Pictures.of(run, columns), tmp_path / "examples", 1) == (2, 2, 0)
    folders = [path.name for path in (tmp_path / "examples").iterdir()]
    assert {lineage_of(folder) for folder in folders} == {("Morus", taxon.lineage) for taxon in MORUS}
    named = finish(run.folder, run.media, Naming(Classifier(bank(), floor=0.6)), {}, Hold())
    assert named.summary["num_taxa"] == len({"Vulpes vulpes", "Capreolus capreolus"}) + len(MORUS)


def test_people_are_not_recognisable_unless_the_run_says_so(run: Run) -> None:
    columns = Columns.of(run)
    person = next(row for row in columns.media.to_pylist() if row["path"].endswith("b/100EK113/IMG_0000.JPG"))
    path = Path(run.config["archive"], person["path"])
    striped = np.asarray(Image.open(path)).copy()
    striped[80:160, 100:180:8] = 0
    Image.fromarray(striped).save(path)

    def contrast() -> float:
        shown = Image.open(io.BytesIO(Pictures.of(run, columns).frame(person["media_id"], 320)))
        return float(np.asarray(shown, np.float32)[100:140, 110:170].std())

    assert contrast() < 25
    run.config["people"] = "show"
    assert contrast() > 50
    run.config["people"] = "withhold"
    with pytest.raises(FileNotFoundError):
        contrast()


def test_examples_are_crops_of_what_people_named(run: Run, tmp_path: Path) -> None:
    desk = desk_of(run)
    for event in _events(desk)[:3]:
        desk.confirm(int(event["id"]), "Ana", event["version"])
    columns, again = Columns.of(run), Run.open(run.folder)
    num, num_taxa, left_out = write_examples(again, columns, Pictures.of(run, columns), tmp_path / "examples", 2)
    assert (num, num_taxa, left_out) == (4, 2, 0)
    assert {path.parent.name for path in tmp_path.glob("examples/*/*.jpg")} == {"Vulpes vulpes", "Capreolus capreolus"}


def test_examples_written_again_are_those_of_what_is_said_now(run: Run, tmp_path: Path) -> None:
    desk, out = desk_of(run), tmp_path / "examples"
    first, second = (desk.confirm(int(it["id"]), "Ana", it["version"]) for it in _events(desk)[:2])

    def written() -> set[str]:
        columns, again = Columns.of(run), Run.open(run.folder)
        write_examples(again, columns, Pictures.of(again, columns), out, 9)
        return {path.relative_to(out).as_posix() for path in out.glob("*/*.jpg")}

    ids = [[one for said in words for one in said["observation_ids"]] for words in (first, second)]
    (out / "Vulpes vulpes").mkdir(parents=True)
    (out / "Vulpes vulpes/mine.jpg").write_bytes(b"")
    before = written()
    moved = next(path for path in before if path.startswith("Vulpes vulpes/") and path != "Vulpes vulpes/mine.jpg")
    one = int(Path(moved).stem)
    desk.name_some([one], desk.word_of(next(it for it in ids[1] if f"Capreolus capreolus/{it}.jpg" in before), "Bo"))
    assert written() == before - {moved} | {f"Capreolus capreolus/{one}.jpg"}
    desk.undo([said["review_id"] for said in second], "Ana")
    assert {Path(path).stem for path in written()} == {Path(path).stem for path in before} - set(map(str, ids[1]))

"""Every format: what is written is read back as that format says, and is what the run holds."""

import csv
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ImageFile

from trygon.archive.detection.results import ResultFile
from trygon.archive.exports import EXPORTS, ExportOptions
from trygon.archive.exports.speciesnet import LABELS, label
from trygon.archive.run_folder.reviews import ReviewLog
from trygon.archive.run_folder.run import Run
from trygon.lease import Hold
from trygon.taxonomy.taxon import RANKS, Taxon
from trygon.testing.shots import Seen, Shot, write_run

with pytest.MonkeyPatch.context() as _patch:
    _patch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)  # which megadetector sets for the whole process
    validator = pytest.importorskip("megadetector.postprocessing.validate_batch_results")

_CARNIVORE = ("Animalia", "Chordata", "Mammalia", "Carnivora")
LION = Taxon((*_CARNIVORE, "Felidae", "Panthera", "leo"), "lion")
CATS = Taxon((*_CARNIVORE, "Felidae", "", ""), "cats")
TAXA = (
    LION,
    CATS,
    Taxon((*_CARNIVORE, "Felidae", "Panthera", "onca"), "Lion"),  # a name that is another's but for its case
    Taxon(("Animalia", "Chordata", "Aves", "Passeriformes", "Corvidae", "Corvus", "corax")),
    Taxon(("Animalia", "", "", "", "", "Oenanthe", "")),  # homonyms
    Taxon(("Plantae", "", "", "", "", "Oenanthe", "")),
    Taxon(("Animalia", "", "", "", "", "", ""), "animal"),  # a word that formats keep for something else
)
NOON = datetime(2024, 5, 31, 12)

Fact = tuple[str, str, str]
"""Path, type and scientific name with lineage (blank without one) of a sighting."""

_sides = st.integers(0, 900).map(lambda value: value / 1000)
_seen = st.builds(
    Seen,
    type=st.sampled_from(["animal", "animal", "human", "vehicle", "unknown"]),
    taxon=st.none() | st.sampled_from(TAXA),
    probability=st.integers(1, 1000).map(lambda value: value / 1000),
    confidence=st.integers(0, 1000).map(lambda value: value / 1000),
    box=st.tuples(_sides, _sides, st.just(0.1), st.just(0.05)),
    decided_by=st.sampled_from(["classifier", "rollup", "geofence", "few_shot"]),
    set_aside=st.sampled_from([None, None, None, "repeated"]),
).map(lambda seen: seen if seen.type == "animal" else Seen(seen.type, None, box=seen.box, decided_by="detector"))
_names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\0", exclude_categories=["C"]), min_size=1, max_size=9
)
_paths = st.tuples(st.sampled_from(["a", "b/DCIM", 'c,"d"', "é"]), _names).map(lambda it: f"{it[0]}/{it[1]}.jpg")
_shots = st.builds(
    Shot,
    path=_paths,
    time=st.none() | st.integers(0, 300).map(lambda second: NOON + timedelta(seconds=second)),
    seen=st.lists(_seen, max_size=3),
    failure=st.sampled_from([None, None, None, "truncated"]),
).map(lambda shot: Shot(shot.path, shot.time, (), shot.failure) if shot.failure else shot)
runs = st.lists(_shots, max_size=8, unique_by=lambda shot: shot.path)


def _name(taxon: Taxon | None) -> str:
    return f"{taxon.scientific}|{taxon.taxonomic}" if taxon else ""


def _facts(shots: list[Shot]) -> Counter[Fact]:
    return Counter(
        (shot.path, seen.type, _name(seen.taxon)) for shot in shots for seen in shot.seen if seen.set_aside is None
    )


def _blank(shots: list[Shot]) -> set[str]:
    return {shot.path for shot in shots if not shot.failure and all(seen.set_aside for seen in shot.seen)}


def _failed(shots: list[Shot]) -> dict[str, str]:
    return {shot.path: shot.failure for shot in shots if shot.failure}


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _lineage(row: dict[str, str], ranks: tuple[str, ...] = RANKS) -> str:
    return " ".join(row[rank] for rank in ranks if row[rank])


def _round_trip(
    shots: list[Shot], name: str, read: Callable[[Path], tuple[Counter[Any], set[str], dict[str, str]]]
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        run = write_run(Path(scratch, "run [1]'s"), shots)
        EXPORTS[name](run, Path(scratch, "out"), ExportOptions({"a": (4.5, -70.25)}, title="Season 3"))
        assert read(Path(scratch, "out")) == (_facts(shots), _blank(shots), _failed(shots))


_MANY = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_MANY
@given(runs)
def test_flat_csv(shots: list[Shot]) -> None:
    def read(out: Path) -> Any:
        rows = _csv(out / "observations.csv")
        seen = Counter(
            (row["path"], row["type"], f"{row['scientific']}|{_lineage(row)}" if row["scientific"] else "")
            for row in rows
            if row["type"] not in ("", "blank")
        )
        blank = {row["path"] for row in rows if row["type"] == "blank"}
        failed = {row["path"]: row["failure"] for row in rows if row["failure"]}
        assert {row["path"]: row["failure"] for row in _csv(out / "failures.csv")} == failed
        return seen, blank, failed

    _round_trip(shots, "csv", read)


def _read_megadetector(out: Path) -> Any:
    checked = validator.validate_batch_results(str(out / "megadetector.json"))["validation_results"]
    assert (checked["errors"], checked["warnings"]) == ([], [])
    content = json.loads((out / "megadetector.json").read_text())
    names = content["classification_categories"]
    lowered = [name.lower() for name in names.values()]
    assert len({*lowered, *content["detection_categories"].values()}) == len(names) + 4
    by_description = {_label(taxon): taxon for taxon in TAXA if taxon not in TAXA[4:6]}
    types = {"1": "animal", "2": "human", "3": "vehicle", "4": "unknown"}
    seen: Counter[Fact] = Counter()
    for image in content["images"]:
        for found in image["detections"] or ():
            assert 0 <= found["conf"] <= 1
            ids = [number for number, _ in found.get("classifications", ())]
            taxa = [by_description[content["classification_category_descriptions"][number]] for number in ids]
            seen[image["file"], types[found["category"]], _name(taxa[0] if taxa else None)] += 1
    blank = {image["file"] for image in content["images"] if image["detections"] == []}
    return seen, blank, {image["file"]: image["failure"] for image in content["images"] if "failure" in image}


def _label(taxon: Taxon) -> str:
    names = dict(zip(RANKS, (name or None for name in taxon.lineage), strict=True))
    return label(names | {"scientific": taxon.scientific, "common": taxon.common or None})


def _without(shots: list[Shot], taxa: tuple[Taxon, ...]) -> list[Shot]:
    return [replace(shot, seen=[seen for seen in shot.seen if seen.taxon not in taxa]) for shot in shots]


@_MANY
@given(runs.map(lambda shots: _without(shots, TAXA[4:6])))
def test_megadetector_is_valid(shots: list[Shot]) -> None:
    """Less the homonyms: a description begins at the class."""
    _round_trip(shots, "megadetector", _read_megadetector)


@_MANY
@given(runs)
def test_coco_camera_traps(shots: list[Shot]) -> None:
    def read(out: Path) -> Any:
        content = json.loads((out / "coco-camera-traps.json").read_text())
        paths = {image["id"]: image["file_name"] for image in content["images"]}
        assert len(paths) == len(content["images"]) == len(shots)
        assert len({row["id"] for row in content["annotations"]}) == len(content["annotations"])
        categories = {row["id"]: row for row in content["categories"]}
        assert (
            len({row["name"].lower() for row in categories.values()}) == len(categories) == len(content["categories"])
        )
        seen: Counter[Fact] = Counter()
        for row in content["annotations"]:
            category = categories[row["category_id"]]
            named = "scientific" in category
            lineage = " ".join(category[rank] for rank in RANKS if rank in category)
            name = f"{category['scientific']}|{lineage}" if named else ""
            seen[paths[row["image_id"]], "animal" if named else category["name"], name] += 1
        blank = {path for path, kind, _ in seen if kind == "empty"}
        sequences = Counter(image["seq_id"] for image in content["images"] if "seq_id" in image)
        for image in content["images"]:
            assert ("corrupt" in image) == ("seq_id" not in image)
            assert (
                "corrupt" in image or 0 <= image["frame_num"] < image["seq_num_frames"] == sequences[image["seq_id"]]
            )
        failed = {image["file_name"]: image["failure"] for image in content["images"] if "corrupt" in image}
        return Counter({fact: num for fact, num in seen.items() if fact[1] != "empty"}), blank, failed

    _round_trip(shots, "coco", read)


@_MANY
@given(runs.map(lambda shots: _without(shots, TAXA[6:])))
def test_speciesnet(shots: list[Shot]) -> None:
    def read(out: Path) -> Any:
        predictions = json.loads((out / "predictions.json").read_text())["predictions"]
        labels: dict[str, set[str]] = {}
        seen: Counter[Fact] = Counter()
        for row in predictions:
            for found in row.get("detections", ()):
                assert found["prediction"].count(";") == 6
                kind = {"1": "animal", "2": "human", "3": "vehicle", "4": "unknown"}[found["category"]]
                taxon = _of_label(found["prediction"])
                labels.setdefault(_name(taxon), set()).add(found["prediction"])
                seen[row["filepath"], kind, _name(taxon)] += 1
        assert all(len(same) == 1 for name, same in labels.items() if name)
        blank = {row["filepath"] for row in predictions if row.get("prediction") == LABELS["blank"]}
        return seen, blank, {row["filepath"]: "truncated" for row in predictions if "failures" in row}

    _round_trip(shots, "speciesnet", read)


def _of_label(text: str) -> Taxon | None:
    """The homonyms differ in the UUID alone: it is made from the lineage."""
    return {_label(taxon): taxon for taxon in TAXA[:6]}.get(text)


@_MANY
@given(runs)
def test_timelapse_names_every_file_as_windows_does(shots: list[Shot]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        EXPORTS["timelapse"](write_run(Path(scratch, "run"), shots), Path(scratch), ExportOptions())
        assert len(_read_megadetector(Path(scratch))[1]) == len(_blank(shots))
        rows = {
            f"{row['RelativePath']}\\{row['File']}".replace("\\", "/"): row
            for row in _csv(Path(scratch, "timelapse.csv"))
        }
        assert set(rows) == {shot.path for shot in shots}
        assert {path for path, row in rows.items() if row["Species"] == "empty"} == _blank(shots)
        for shot in shots:
            num = sum(seen.set_aside is None for seen in shot.seen)
            assert not rows[shot.path]["Count"] if not num else 1 <= int(rows[shot.path]["Count"]) <= num


@_MANY
@given(runs)
def test_wildlife_insights(shots: list[Shot]) -> None:
    def read(out: Path) -> Any:
        rows = _csv(out / "images.csv")
        by_lineage = {tuple(taxon.lineage[2:]): taxon for taxon in TAXA[:5]}
        kinds = {"Human": "human", "Vehicle": "vehicle", "Animal": "animal", "No CV Result": "unknown"}
        deployments = {row["deployment_id"]: row for row in _csv(out / "deployments.csv")}
        assert {row["camera_id"] for row in _csv(out / "cameras.csv")} == set(deployments)
        assert all(row["deployment_id"] in deployments for row in rows)
        seen: Counter[Fact] = Counter()
        for row in rows:
            kind = kinds.get(row["common_name"]) if row["wi_taxon_id"] else "animal"
            if kind:
                taxon = None if row["wi_taxon_id"] else by_lineage[tuple(row[rank] for rank in RANKS[2:])]
                seen[row["location"], kind, _name(taxon)] += int(row["number_of_objects"])
        failed = {shot.path: shot.failure for shot in shots if shot.path not in {row["location"] for row in rows}}
        return seen, {row["location"] for row in rows if row["common_name"] == "Blank"}, failed

    _round_trip(_without(shots, TAXA[5:]), "wildlife-insights", read)


def test_boxes_times_and_probabilities_are_those_of_the_run(tmp_path: Path) -> None:
    seen = Seen("animal", LION, 0.625, 0.75, (0.1, 0.2, 0.3, 0.4))
    run = write_run(tmp_path / "run", [Shot("a/1.jpg", NOON, [seen])], detector="some-detector")
    for name in ("megadetector", "speciesnet", "coco"):
        EXPORTS[name](run, tmp_path, ExportOptions({"a": (4.5, -70.25)}))
    content = json.loads((tmp_path / "megadetector.json").read_text())
    assert content["info"]["detector"] == "some-detector"
    found = {"category": "1", "conf": 0.75, "bbox": [0.1, 0.2, 0.3, 0.4], "classifications": [["1", 0.625]]}
    assert content["images"] == [{"file": "a/1.jpg", "datetime": "2024:05:31 12:00:00", "detections": [found]}]
    (row,) = json.loads((tmp_path / "predictions.json").read_text())["predictions"]
    assert (row["latitude"], row["prediction_score"], row["prediction_source"]) == (4.5, 0.625, "classifier")
    assert row["prediction"].endswith(";mammalia;carnivora;felidae;panthera;leo;lion")
    content = json.loads((tmp_path / "coco-camera-traps.json").read_text())
    assert content["annotations"][0]["bbox"] == [40.0, 60.0, 120.0, 120.0]
    assert content["images"][0] | {"id": ANY, "seq_id": ANY} == {
        **{"id": ANY, "file_name": "a/1.jpg", "width": 400, "height": 300, "datetime": "2024-05-31 12:00:00"},
        **{"location": "a", "seq_id": ANY, "seq_num_frames": 1, "frame_num": 0},
    }


def test_readers_of_boxes_are_told_from_what_confidence_on_they_count(tmp_path: Path) -> None:
    """Without that Timelapse, and `--detections`, leave out what is below 0.2."""
    seen = [Seen("animal", LION, confidence=0.05), Seen("animal", LION, confidence=0.01, set_aside="repeated"), Seen()]
    EXPORTS["megadetector"](write_run(tmp_path / "run", [Shot("a/1.jpg", NOON, seen)]), tmp_path, ExportOptions())
    _read_megadetector(tmp_path)
    info = json.loads((tmp_path / "megadetector.json").read_text())["info"]
    assert set(info["detector_metadata"].values()) == {0.05}
    assert ResultFile(str(tmp_path / "megadetector.json")).least()["animal"] == 0.05


def test_flat_table_says_which_frame_of_a_video_and_what_decided(tmp_path: Path) -> None:
    seen = [Seen("animal", LION, decided_by="few_shot", frame_number=30), Seen("human", decided_by="detector")]
    run = write_run(tmp_path / "run", [Shot("a/1.mp4", NOON, seen), Shot("a/2.jpg", failure="truncated")])
    EXPORTS["csv"](run, tmp_path, ExportOptions())
    assert (tmp_path / "observations.csv").read_bytes().startswith(b"\xef\xbb\xbfpath,")  # for Excel
    *rows, failed = _csv(tmp_path / "observations.csv")
    ids = {str(it) for it in run.observations["observation_id"].to_pylist()}
    assert {row["observation_id"] for row in rows} == ids
    assert {(row["frame_number"], row["decided_by"]) for row in rows} == {("30", "few_shot"), ("", "detector")}
    assert (failed["failure"], failed["observation_id"], failed["decided_by"]) == ("truncated", "", "")


def test_speciesnet_says_where_a_name_comes_from_in_its_own_words(tmp_path: Path) -> None:
    seen = [
        *(Seen("animal", CATS, decided_by=word) for word in ("rollup", "geofence")),
        *(Seen("animal", None, decided_by=word) for word in ("geofence", "detector")),
        Seen("animal", LION, decided_by="few_shot"),
    ]
    EXPORTS["speciesnet"](write_run(tmp_path / "run", [Shot("a/1.jpg", NOON, seen)]), tmp_path, ExportOptions())
    (row,) = json.loads((tmp_path / "predictions.json").read_text())["predictions"]
    assert {found["prediction_source"] for found in row["detections"]} == {
        *("classifier+rollup_to_family", "classifier+geofence+rollup_to_family", "classifier+geofence+rollup_failed"),
        *("detector", "classifier"),
    }


def test_videos_have_their_rate_and_the_numbers_of_frames(tmp_path: Path) -> None:
    video = {"kind": "video", "frame_rate": 29.97, "frames": [0, 30]}
    shots = [
        Shot("a/1.mp4", NOON, [Seen("animal", LION, frame_number=30)], about=video),
        Shot("a/2.avi", NOON, [Seen()], about={"kind": "video", "frames": [4]}),
        Shot("a/3.mov", failure="truncated", about={"kind": "video"}),
        Shot("a/4.mp4", about=video),
    ]
    EXPORTS["megadetector"](write_run(tmp_path / "run", shots), tmp_path, ExportOptions())
    _read_megadetector(tmp_path)
    images = json.loads((tmp_path / "megadetector.json").read_text())["images"]
    assert [(it["frame_rate"], it["frames_processed"]) for it in images] == [
        (29.97, [0, 30]),
        (25.0, [4]),  # nothing is known: a number has to stand there
        (-1.0, []),
        (29.97, [0, 30]),
    ]
    numbers = [found["frame_number"] for it in images for found in it["detections"] or ()]
    assert numbers == [30, 4]


def test_what_a_person_said_goes_into_every_format(tmp_path: Path) -> None:
    shots = [Shot("a/1.jpg", NOON, [Seen("animal", LION), Seen("animal", LION)]), Shot("a/2.jpg", NOON)]
    run = write_run(tmp_path / "run", shots)
    first, second = (row["observation_id"] for row in run.rows("FROM observations WHERE type = 'animal' ORDER BY ALL"))
    blank = run.row("FROM observations WHERE type = 'blank'")["observation_id"]
    about = {"reviewed_by": "Ana", "reviewed_at": datetime.fromisoformat("2026-05-31T12:00:00+00:00")}
    canid = {"rank": "family", "family": "Canidae", "scientific": "Canidae"}
    said = [(first, {"type": "blank"}), (second, {"type": "human"}), (blank, {"type": "animal"} | canid)]
    rows = [{"review_id": str(n), "observation_ids": [one]} | what | about for n, (one, what) in enumerate(said)]
    ReviewLog(run.folder, Hold()).append(rows)
    run = Run.open(run.folder)
    for name, export in EXPORTS.items():
        export(run, tmp_path / name, ExportOptions())
    images = json.loads((tmp_path / "megadetector/megadetector.json").read_text())["images"]
    found = [(it["category"], it["conf"], it.get("classifications")) for image in images for it in image["detections"]]
    assert found == [("2", 0.8, None), ("1", 1.0, [["1", 1.0]])]
    rows = _csv(tmp_path / "wildlife-insights/images.csv")
    assert [(row["genus"] or row["family"], row["identified_by"]) for row in rows] == [
        ("homo", "Ana"),
        ("Canidae", "Ana"),
    ]
    assert [row["Species"] for row in _csv(tmp_path / "timelapse/timelapse.csv")] == ["human", "Canidae"]
    predictions = json.loads((tmp_path / "speciesnet/predictions.json").read_text())["predictions"]
    assert [row["prediction_source"] for row in predictions] == ["human", "human"]
    assert [row["reviewed_by"] for row in _csv(tmp_path / "csv/observations.csv")] == ["Ana", "Ana"]
    assert len(json.loads((tmp_path / "coco/coco-camera-traps.json").read_text())["annotations"]) == 2


def test_duckdb_reads_a_run_as_it_is(tmp_path: Path) -> None:
    run = write_run(tmp_path, [Shot("a/1.jpg", NOON, [Seen("animal", LION)]), Shot("a/2.jpg", failure="empty")])
    found = duckdb.execute(f"""
        SELECT path, scientific, confidence, events.taxa[1].count
        FROM '{run.folder}/observations.parquet' JOIN '{run.folder}/media.parquet' USING (media_id)
        JOIN '{run.folder}/detections.parquet' USING (detection_id)
        JOIN '{run.folder}/events.parquet' AS events USING (event_id)
    """).fetchall()
    assert found == [("a/1.jpg", "Panthera leo", pytest.approx(0.8), 1)]
    assert duckdb.execute(f"SELECT path, reason FROM '{run.folder}/failures.parquet'").fetchall() == [
        ("a/2.jpg", "empty")
    ]

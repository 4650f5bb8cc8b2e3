"""Exports of a run folder that is written row by row here: what Camtrap DP's own validator says of them."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import frictionless
import numpy as np
import pyarrow as pa
import pytest
from pyarrow.dataset import field

from trygon.archive.exports import EXPORTS, ExportOptions
from trygon.archive.inputs.media import MediaFile
from trygon.archive.run_folder.labelling import Naming, finish
from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.reviews import ReviewLog
from trygon.archive.run_folder.run import Run
from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.lease import Hold
from trygon.storage import join, read_json, write_json
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.packages import validate, violations
from trygon.testing.shots import Shot, write_run

_CARNIVORE = ("Animalia", "Chordata", "Mammalia", "Carnivora")
TREE = TaxonTree.from_taxa(
    [
        Taxon((*_CARNIVORE, "Felidae", "Panthera", "leo"), "lion"),
        Taxon((*_CARNIVORE, "Felidae", "Panthera", "onca"), "jaguar"),
        Taxon((*_CARNIVORE, "Canidae", "Canis", "lupus"), "wolf"),
    ]
)
FILES = [
    MediaFile(path, 9) for path in ("a/1.jpg", "a/2.jpg", "a/IMG..3.JPG", "b/DCIM/1.png", "b/broken.tif", "~x.gif")
]


def _row(file: MediaFile, second: int | None, *boxes: dict[str, Any], failure: str | None = None) -> dict[str, Any]:
    return {
        "media_id": file.media_id,
        "path": file.path,
        "deployment": file.deployment,
        "bytes": file.bytes,
        "timestamp": None if second is None else datetime(2024, 5, 31, 12, 0, second),
        "make": "Bushnell",
        "failure": failure,
        "detections": [box | {"media_id": file.media_id} for box in boxes],
    }


def _box(number: int, vector: list[float], category: str = "animal") -> dict[str, Any]:
    place = {"x": 0.0, "y": 0.25, "width": 1.0, "height": 0.5}
    unit = np.asarray(vector, np.float16)
    return place | {"detection_id": number, "category": category, "confidence": 0.8, "vector": unit}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A lion (twice in a frame), something between lion and jaguar, a person, a blank, a broken file."""
    folder = tmp_path / "run"
    lion, cat = [1.0, 0, 0], [0.7, 0.7, 0]
    leo = [taxon.common for taxon in TREE.taxa].index("lion")
    other = [taxon.common for taxon in TREE.taxa].index("jaguar")
    vector_ND = np.zeros((3, 3), np.float32)
    vector_ND[leo, 0] = vector_ND[other, 1] = vector_ND[3 - leo - other, 2] = 1
    rows = [
        _row(FILES[0], 0, _box(1, lion), _box(2, lion)),
        _row(FILES[1], 5, _box(3, cat)),
        _row(FILES[2], 7, _box(4, lion, "person")),
        _row(FILES[3], None),
        _row(FILES[4], None, failure="truncated"),
        _row(FILES[5], 9),
    ]
    Parts(folder).commit(0, rows)
    bank = LabelBank(TREE, vector_ND, 50.0, "some-model", "digest", TextType.SCI)
    media = Parts(folder).media().sort_by("path")
    return finish(folder, media, Naming(Classifier(bank, floor=0.6)), {"model": "some-model"}, Hold())


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _validate(folder: Path) -> frictionless.Report:
    assert violations(read_json(folder / "datapackage.json")) == []
    return validate(folder)


def test_package_is_valid(run: Run, tmp_path: Path) -> None:
    notes = EXPORTS["camtrap-dp"](run, tmp_path, ExportOptions(time_zone="-05:00"))
    report = _validate(tmp_path)
    assert report.valid, report.flatten(["type", "message"])
    assert [task.name for task in report.tasks] == ["deployments", "media", "observations"]
    assert len(notes) == 1
    assert "3 of 3 deployments have no coordinates" in notes[0]


def test_validator_sees_what_is_wrong(run: Run, tmp_path: Path) -> None:
    EXPORTS["camtrap-dp"](run, tmp_path, ExportOptions())
    text = (tmp_path / "media.csv").read_text()
    (tmp_path / "media.csv").write_text(text.replace("a/1.jpg", "../1.jpg").replace(",image/png", ",picture"))
    assert sorted(_validate(tmp_path).flatten(["fieldName"])) == [["fileMediatype"], ["filePath"]]
    package = read_json(tmp_path / "datapackage.json")
    package["resources"][0]["schema"] = "camtrap-dp/1.0.2/deployments-table-schema.json"
    package |= {"created": "yesterday", "temporal": {"start": "2024-05", "end": "2024-05-31"}}
    package["spatial"] = {"type": "Polygon"}
    told = violations(package)
    places = {"$.resources[0].schema", "$.created", "$.temporal.start", "$.spatial"}
    assert {said.split(":")[0] for said in told} == places
    assert any("is not a 'uri'" in said for said in told)


def test_a_package_with_its_schemas_validates_by_these(run: Run, tmp_path: Path) -> None:
    EXPORTS["camtrap-dp"](run, tmp_path, ExportOptions(carry_schemas=True))
    resources = read_json(tmp_path / "datapackage.json")["resources"]
    for resource in resources:
        assert read_json(tmp_path / resource["schema"])["name"] == resource["name"]
    assert validate(tmp_path).valid
    table = tmp_path / "media.csv"
    table.write_text(table.read_text().replace(",image/png", ",picture"))
    assert validate(tmp_path).flatten(["fieldName"]) == [["fileMediatype"]]


def test_media_and_event_rows(run: Run, tmp_path: Path) -> None:
    EXPORTS["camtrap-dp"](run, tmp_path, ExportOptions())
    rows = _rows(tmp_path / "observations.csv")
    media = [(row["observationType"], row["scientificName"], row["count"]) for row in rows if row["mediaID"]]
    assert sorted(media) == [
        ("animal", "Panthera", "1"),
        ("animal", "Panthera leo", "1"),
        ("animal", "Panthera leo", "1"),
        ("blank", "", ""),
        ("blank", "", ""),
        ("human", "", "1"),
    ]
    events = [row for row in rows if row["observationLevel"] == "event"]
    assert all(not row["mediaID"] and not row["bboxX"] for row in events)
    assert sorted((row["observationType"], row["scientificName"], row["count"]) for row in events) == [
        ("animal", "Panthera leo", "2"),
        ("blank", "", ""),
        ("blank", "", ""),
        ("human", "", "1"),
    ]
    assert {row["classificationMethod"] for row in rows} == {"machine"}
    assert {row["eventStart"][-6:] for row in rows} == {"+00:00"}


def test_what_a_person_said_is_in_every_export(run: Run, tmp_path: Path) -> None:
    lion, *_, person = run.observations.filter(field("detection_id").isin([1, 4]))["observation_id"].to_pylist()
    time = datetime(2026, 5, 31, 12, tzinfo=UTC)
    said = {"event_id": 1, "type": "animal", "rank": "species", "genus": "Canis", "species": "lupus"}
    said |= {"scientific": "Canis lupus", "event_count": 5, "life_stage": "juvenile", "sex": "female"}
    about = {"review_id": "a", "observation_ids": [lion], "reviewed_by": "Ana Díaz", "reviewed_at": time}
    blank = {"review_id": "b", "observation_ids": [person], "type": "blank", "event_id": 1}
    ReviewLog(run.folder, Hold()).append([said | about, about | blank])
    run = Run(run.folder, run.summary)
    EXPORTS["camtrap-dp"](run, tmp_path / "dp", ExportOptions())
    assert _validate(tmp_path / "dp").valid
    rows = [row for row in _rows(tmp_path / "dp/observations.csv") if row["classificationMethod"] == "human"]
    names = ("observationLevel", "observationType", "scientificName", "count", "lifeStage", "sex", "classifiedBy")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("media", "animal", "Canis lupus", "1", "juvenile", "female", "Ana Díaz"),
        ("media", "blank", "", "", "", "", "Ana Díaz"),
        ("event", "animal", "Canis lupus", "5", "juvenile", "female", "Ana Díaz"),
    ]
    assert {(row["classificationProbability"], row["classificationTimestamp"]) for row in rows} == {
        ("", "2026-05-31T12:00:00+00:00")
    }
    EXPORTS["csv"](run, tmp_path, ExportOptions())
    event = next(row for row in _rows(tmp_path / "events.csv") if row["reviewed_by"])
    assert [event[name] for name in ("scientific", "count", "life_stage")] == ["Canis lupus", "5", "juvenile"]
    flat = [row for row in _rows(tmp_path / "observations.csv") if row["reviewed_by"]]
    assert [(row["scientific"], row["event_count"]) for row in flat] == [("Canis lupus", "5"), ("", "")]


def test_time_of_a_review_is_the_same_on_a_machine_in_another_zone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = duckdb.connect

    def in_new_york(**config: Any) -> duckdb.DuckDBPyConnection:
        database = connect(**config)
        database.execute("SET GLOBAL TimeZone = 'America/New_York'")
        return database

    monkeypatch.setattr(duckdb, "connect", in_new_york)
    (one,) = run.observations.filter(field("detection_id") == 4)["observation_id"].to_pylist()
    said = {"review_id": "a", "observation_ids": [one], "event_id": 1, "type": "vehicle", "reviewed_by": "Ana"}
    ReviewLog(run.folder, Hold()).append([said | {"reviewed_at": datetime(2026, 5, 31, 12, tzinfo=UTC)}])
    EXPORTS["camtrap-dp"](Run(run.folder, run.summary), tmp_path / "dp", ExportOptions())
    rows = _rows(tmp_path / "dp/observations.csv")
    times = {row["classificationTimestamp"] for row in rows if row["classificationMethod"] == "human"}
    assert times == {"2026-05-31T12:00:00+00:00"}


def test_what_the_archive_does_not_hold_is_said(run: Run, tmp_path: Path) -> None:
    EXPORTS["camtrap-dp"](run, tmp_path, ExportOptions({"a": (4.5, -70.25)}))
    places = {row["deploymentID"]: row for row in _rows(tmp_path / "deployments.csv")}
    assert (places["a"]["latitude"], places["a"]["longitude"]) == ("4.5", "-70.25")
    assert not places["a"]["coordinateUncertainty"]
    assert places["a"]["timestampIssues"] == "false"
    assert int(places["b"]["coordinateUncertainty"]) > 20_000_000
    assert places["b"]["timestampIssues"] == "true"
    assert "coordinates unknown" in places["b"]["deploymentComments"]
    media = {row["fileName"]: row for row in _rows(tmp_path / "media.csv")}
    assert media["broken.tif"]["mediaComments"] == "not read: truncated; no date in the file"
    assert media["IMG..3.JPG"]["filePath"] == "a/IMG%2E%2E3.JPG"
    assert media["~x.gif"]["filePath"] == "%7Ex.gif"
    assert json.loads(media["1.jpg"]["exifData"]) == {"Make": "Bushnell"}


def test_files_of_kinds_that_are_not_read_raise_no_doubt_about_dates(tmp_path: Path) -> None:
    shots = [
        Shot("a/1.jpg", datetime(2024, 5, 31)),
        *(Shot(f"a/1.{kind}", None, failure="unsupported") for kind in ("NEF", "7z")),
    ]
    EXPORTS["camtrap-dp"](write_run(tmp_path / "run", shots), tmp_path / "dp", ExportOptions({"a": (4.5, -70.25)}))
    (place,) = _rows(tmp_path / "dp/deployments.csv")
    assert (place["timestampIssues"], place["deploymentComments"]) == ("false", "")
    media = {row["fileName"]: row["mediaComments"] for row in _rows(tmp_path / "dp/media.csv")}
    assert media == {"1.jpg": "", "1.NEF": "not read: unsupported; no date in the file"}


def test_package_says_what_it_covers(run: Run, tmp_path: Path) -> None:
    places = {"a": (4.5, -70.25), "b": (5.0, -71.0), ".": (4.0, -70.5), "gone": (0.0, 0.0)}
    notes = EXPORTS["camtrap-dp"](run, tmp_path, ExportOptions(places))
    assert notes == ["--deployments names 'gone', which the archive does not have"]
    package = json.loads((tmp_path / "datapackage.json").read_text())
    assert package["spatial"]["bbox"] == [-71.0, 4.0, -70.25, 5.0]
    assert package["temporal"] == {"start": "2024-05-31", "end": "2024-05-31"}
    assert [it["scientificName"] for it in package["taxonomic"]] == ["Panthera", "Panthera leo"]
    assert package["taxonomic"][1]["vernacularNames"] == {"eng": "lion"}


def test_flat_table_has_every_file(run: Run, tmp_path: Path) -> None:
    EXPORTS["csv"](run, tmp_path, ExportOptions())
    rows = _rows(tmp_path / "observations.csv")
    assert {row["path"] for row in rows} == {file.path for file in FILES}
    assert [row["failure"] for row in rows if row["failure"]] == ["truncated"]
    assert [row["rank"] for row in rows if row["type"] == "animal"] == ["species", "species", "genus"]
    assert _rows(tmp_path / "failures.csv")[0]["path"] == "b/broken.tif"
    events = _rows(tmp_path / "events.csv")
    columns = ("deployment", "start", "type", "scientific", "count")
    assert [tuple(row[name] for name in columns) for row in events] == [
        (".", "2024-05-31T12:00:09+00:00", "blank", "", ""),
        ("a", "2024-05-31T12:00:00+00:00", "animal", "Panthera leo", "2"),
        ("a", "2024-05-31T12:00:00+00:00", "human", "", "1"),
        ("b", "", "blank", "", ""),
    ]
    assert (events[1]["end"][11:19], events[1]["num_media"], events[1]["common"]) == ("12:00:07", "3", "lion")


def test_observations_have_the_stored_types(run: Run) -> None:
    observations = run.predictions
    assert len(set(observations["observation_id"].to_pylist())) == observations.num_rows == 6
    assert pa.types.is_int64(observations.schema.field("event_id").type)


def test_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a finished run"):
        Run.open(tmp_path)


def test_run_without_its_last_file_is_not_finished(run: Run) -> None:
    with pytest.raises(UserError, match="not a finished run"):
        Run.open(run.folder)
    write_json(join(run.folder, "summary.json"), run.summary)
    assert Run.open(run.folder).summary == run.summary
    assert (run.summary["num_files"], run.summary["model"]) == (6, "some-model")

"""Formats that begin at the class: what they say of animals that are named above it, or not within one; and of blanks
that a person saw."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import ImageFile

from trygon.archive.exports import EXPORTS, ExportOptions
from trygon.archive.exports.speciesnet import LABELS
from trygon.archive.run_folder.reviews import ReviewLog
from trygon.archive.run_folder.run import Run
from trygon.lease import Hold
from trygon.taxonomy.taxon import Taxon
from trygon.testing.shots import Seen, Shot, write_run

with pytest.MonkeyPatch.context() as _patch:
    _patch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)  # which megadetector sets for the whole process
    postprocessing = pytest.importorskip("megadetector.postprocessing.classification_postprocessing")
    taxonomy = pytest.importorskip("megadetector.utils.wi_taxonomy_utils")

_CAT = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae")
LION = Taxon((*_CAT, "Panthera", "leo"), "lion")
CATS = Taxon((*_CAT, "", ""))
CHORDATES = Taxon(("Animalia", "Chordata", "", "", "", "", ""))
ANIMALS = Taxon(("Animalia", "", "", "", "", "", ""))
STRIPES = Taxon(("Animalia", "", "", "", "", "Stripes", ""))
NOON = datetime(2024, 5, 31, 12)


def test_megadetectors_own_tools_take_every_description(tmp_path: Path) -> None:
    several = [Seen("animal", taxon) for taxon in (*[LION] * 5, CATS, CHORDATES, ANIMALS, STRIPES)]
    EXPORTS["megadetector"](write_run(tmp_path / "run", [Shot("a/1.jpg", NOON, several)]), tmp_path, ExportOptions())
    content = json.loads((tmp_path / "megadetector.json").read_text())
    names, described = content["classification_categories"], content["classification_category_descriptions"]
    levels = {names[number]: taxonomy.taxonomy_level_index(text) for number, text in described.items()}
    assert levels == {"lion": 7, "Felidae": 5, "Chordata": 0, "Animalia": 0, "Stripes": 0}
    (lion,) = (text for text in described.values() if text.endswith(";lion"))
    assert taxonomy.clean_taxonomy_string(lion) == "mammalia;carnivora;felidae;panthera;leo"

    smoothed = postprocessing.smooth_classification_results_image_level(str(tmp_path / "megadetector.json"))
    (image,) = smoothed["images"]
    found = [names[it["classifications"][0][0]] for it in image["detections"]]
    assert found.count("lion") >= 6  # the family gave way to the species
    assert image["pre_smoothing_description"].startswith("lion (5)")


def test_speciesnet_rolls_up_to_an_animal_above_the_class(tmp_path: Path) -> None:
    words = ("rollup", "geofence")
    seen = [Seen("animal", taxon, decided_by=word) for taxon in (CHORDATES, ANIMALS) for word in words]
    EXPORTS["speciesnet"](write_run(tmp_path / "run", [Shot("a/1.jpg", NOON, seen)]), tmp_path, ExportOptions())
    (row,) = json.loads((tmp_path / "predictions.json").read_text())["predictions"]
    assert {found["prediction"] for found in row["detections"]} == {LABELS["animal"]}
    assert {found["prediction_source"] for found in row["detections"]} == {
        "classifier+rollup_to_kingdom",
        "classifier+geofence+rollup_to_kingdom",
    }


def test_wildlife_insights_has_one_row_for_the_animals_that_it_cannot_name(tmp_path: Path) -> None:
    seen = [Seen("animal", taxon) for taxon in (CHORDATES, ANIMALS, None, CATS)]
    run = write_run(tmp_path / "run", [Shot("a/1.jpg", NOON, seen)])
    EXPORTS["wildlife-insights"](run, tmp_path, ExportOptions())
    columns = ("wi_taxon_id", "family", "common_name", "number_of_objects")
    rows = sorted(tuple(row[name] for name in columns) for row in _csv(tmp_path / "images.csv"))
    assert rows == [("", "Felidae", "", "1"), (LABELS["animal"].split(";")[0], "", "Animal", "3")]


def test_wildlife_insights_says_who_saw_that_nothing_is_there(tmp_path: Path) -> None:
    shots = [Shot("a/1.jpg", NOON, [Seen("animal", LION)]), Shot("a/2.jpg", NOON), Shot("a/3.jpg", NOON)]
    run = write_run(tmp_path / "run", shots)
    rejected, confirmed, _ = (row["observation_id"] for row in run.rows("FROM sightings ORDER BY path"))
    said = {"review_id": "1", "type": "blank", "reviewed_by": "Ana", "reviewed_at": NOON.replace(tzinfo=UTC)}
    ReviewLog(run.folder, Hold()).append([said | {"observation_ids": [rejected, confirmed]}])
    EXPORTS["wildlife-insights"](Run.open(run.folder), tmp_path, ExportOptions())
    rows = {row["location"]: row for row in _csv(tmp_path / "images.csv")}
    assert {row["common_name"] for row in rows.values()} == {"Blank"}
    assert [rows[f"a/{number}.jpg"]["identified_by"][:6] for number in (1, 2, 3)] == ["Ana", "Ana", "trygon"]


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))

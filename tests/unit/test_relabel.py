"""A finished run named anew into another folder, as the command line does it: without pictures, model or Ray."""

import csv
import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from trygon.archive.labelling import Naming, finish
from trygon.archive.parts import Parts, write_table
from trygon.archive.reviews import ReviewLog
from trygon.archive.run import Run
from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.lease import Hold
from trygon.schemas import DEPLOYMENT
from trygon.storage import write_json
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import RANKS, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon_jobs.label import LabelConfig, main

_CARNIVORE = ("Animalia", "Chordata", "Mammalia", "Carnivora")
TREE = TaxonTree.from_taxa(
    [
        Taxon((*_CARNIVORE, "Felidae", "Panthera", "leo"), "lion"),
        Taxon((*_CARNIVORE, "Felidae", "Panthera", "onca"), "jaguar"),
        Taxon((*_CARNIVORE, "Canidae", "Canis", "lupus"), "wolf"),
    ]
)
BANK = LabelBank(TREE, np.eye(3, dtype=np.float16), 20.0, "some-model", "digest", TextType.SCI)


def _config(**settings: Any) -> LabelConfig:
    return LabelConfig.model_validate(settings)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with labels/ and run/: three frames, each of which shows one of the taxa, and a blank."""
    BANK.save(tmp_path / "labels")
    parts, rows = Parts(tmp_path / "run"), []
    for number in range(4):
        box = {"x": 0.1, "y": 0.2, "width": 0.2, "height": 0.2, "category": "animal", "confidence": 0.9}
        box |= {"detection_id": 100 + number, "media_id": number}
        row = {"media_id": number, "path": f"{number}.jpg", "deployment": "a", "bytes": 9, "digest": f"{number}"}
        row |= {"timestamp": datetime(2024, 5, 31) + timedelta(hours=number)}
        rows.append(
            row | {"detections": [box | {"vector": np.eye(3, dtype=np.float16)[number]}] if number < 3 else []}
        )
    for number in range(2):
        parts.commit(number, rows[2 * number : 2 * number + 2])
    run = finish(tmp_path / "run", parts.media(), Naming(Classifier(BANK)), {}, Hold())
    config = _config(
        archive=str(tmp_path / "gone"), model="gone", labels=str(tmp_path / "labels"), out=str(tmp_path / "run")
    )
    write_json(tmp_path / "run/config.json", config.model_dump(mode="json"))
    write_table(tmp_path / "run/deployments.parquet", DEPLOYMENT.empty_table())
    write_json(tmp_path / "run/made-with.json", {"model": "digest", "encoder": "torch", "detector": "none"})
    about = {"num_ignored": 2, "num_removed": 0, "archive": "gone", "model": "some-model"}
    about |= {"encoder": "torch", "detector": None}
    write_json(tmp_path / "run/summary.json", run.summary | about)
    return tmp_path


def _names(folder: Path) -> list[str | None]:
    rows = pq.read_table(folder / "observations.parquet").sort_by("media_id").to_pylist()
    return [row["scientific"] for row in rows]


def test_other_names_other_checklist_other_floor(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = str(place / "run"), place / "new"
    assert _names(place / "run") == ["Canis lupus", "Panthera leo", "Panthera onca", None]
    (place / "mine.txt").write_text("lion\nwolf\ntiger\n")
    main(_config(from_run=run, out=str(out), names=str(place / "mine.txt"), confidence_floor=0.6))
    assert set(_names(out)) == {"Canis lupus", "Panthera leo", "Carnivora", None}
    with (out / "names.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["common", "common", "unmatched"]
    said = capsys.readouterr()
    assert "mine.txt: of 3 names 1 in no label (tiger)" in said.err
    assert "4 images of 1 cameras: 3 with animals, 1 blank" in said.out

    (place / "country.csv").write_text("scientificName\nPanthera onca\n")
    main(_config(from_run=run, out=str(place / "country"), checklist=str(place / "country.csv")))
    assert _names(place / "country") == ["Carnivora", "Panthera", "Panthera onca", None]
    rows = pq.read_table(place / "country/observations.parquet").sort_by("media_id").to_pylist()
    assert [row["decided_by"] for row in rows] == ["geofence", "geofence", "classifier", "detector"]
    assert Run.open(place / "country").summary["num_ignored"] == 2
    assert (place / "country/export/camtrap-dp/datapackage.json").is_file()


def test_named_by_what_people_said_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pictures that texts call lion and jaguar; people say the first is a leopard, which no label is, and that the
    second is a wolf."""
    run, about = str(place / "run"), {"reviewed_by": "Ana", "reviewed_at": datetime(2026, 5, 31, tzinfo=UTC)}
    leopard = Taxon((*_CARNIVORE, "Felidae", "Panthera", "pardus"))
    said = [(100, leopard), (101, TREE.taxon(0))]
    rows = [
        {
            "review_id": str(number),
            "observation_ids": [number],
            "event_id": number,
            "type": "animal",
            "rank": "species",
        }
        | {"scientific": taxon.scientific, **dict(zip(RANKS, taxon.lineage, strict=True))}
        | about
        for number, taxon in said
    ]
    ReviewLog(run, Hold()).append(rows)
    main(_config(from_run=run, out=str(place / "new"), examples=(run,), examples_only=True))
    assert _names(place / "new")[:2] == [taxon.scientific for _, taxon in said]
    summary = Run.open(place / "new").summary
    assert summary["num_label_taxa"] == 2
    assert summary["num_decided_by"] == {"human": 2, "detector": 1, "few_shot": 1}
    assert "examples: 1 names are in no label, and labels of their own (Panthera pardus)" in capsys.readouterr().err
    with (place / "new/examples.csv").open() as file:
        assert {row["name"]: row["status"] for row in csv.DictReader(file)} == {
            "Panthera pardus": "own",
            TREE.taxon(0).scientific: "exact",
        }
    ReviewLog(run, Hold()).append([rows[1] | {"review_id": "2", "observation_ids": [102], "event_id": 102}])
    config = _config(from_run=run, out=str(place / "new"), examples=(run,), examples_only=True)
    main(config)
    assert _names(place / "new")[:3] == [leopard.scientific, *[TREE.taxon(0).scientific] * 2]
    assert "stood here already" not in capsys.readouterr().out
    main(config)
    assert "stood here already" in capsys.readouterr().out


def test_vectors_are_shared_and_reviews_are_brought(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "run/reviews").mkdir()
    (place / "run/reviews/one.jsonl").write_text("")
    config = _config(from_run=str(place / "run"), out=str(place / "new"), confidence_floor=0.9)
    main(config)
    assert os.path.samefile(place / "run/vectors/part-00000.parquet", place / "new/vectors/part-00000.parquet")
    assert not os.path.samefile(place / "run/reviews/one.jsonl", place / "new/reviews/one.jsonl")
    capsys.readouterr()
    main(config)
    assert "all of it stood here already" in capsys.readouterr().out
    review = {"review_id": "r", "observation_ids": [100], "type": "human", "reviewed_by": "Ana"}
    review |= {"reviewed_at": "2026-01-02T03:04:05+00:00"}
    (place / "new/reviews/two.jsonl").write_text(json.dumps(review) + "\n")
    main(config)
    assert "all of it stood here already" not in capsys.readouterr().out
    with (place / "new/observations.csv").open() as file:
        assert [row["type"] for row in csv.DictReader(file)].count("human") == 1


def test_what_cannot_be_named_anew_is_one_line(place: Path) -> None:
    run = str(place / "run")
    with pytest.raises(UserError, match="is the run itself"):
        main(_config(from_run=run, out=run))
    with pytest.raises(ValueError, match="leave the archive away"):
        _config(from_run=run, archive="archive", out="new")
    with pytest.raises(ValueError, match="needs --examples"):
        _config(from_run=run, out="new", examples_only=True)
    with pytest.raises(UserError, match="no such folder"):
        main(_config(from_run=run, out=str(place / "new"), examples=(str(place / "nowhere"),)))
    with pytest.raises(ValueError, match="reads no picture of the archive: leave out --detections, --part-size"):
        _config(from_run=run, out="new", part_size=8, detections="boxes.json")
    with pytest.raises(ValueError, match="give an archive with --model and --labels, or --from RUN"):
        _config(out="new")
    write_json(place / "other/made-with.json", {"model": "digest", "detector": "none", "run": "another"})
    with pytest.raises(UserError, match="holds another run"):
        main(_config(from_run=run, out=str(place / "other")))
    (place / "unknown/parts").mkdir(parents=True)
    shutil.copy(place / "run/parts/part-00000.parquet", place / "unknown/parts")
    with pytest.raises(UserError, match="does not say of which"):
        main(_config(from_run=run, out=str(place / "unknown")))
    write_json(place / "run/made-with.json", {"model": "other", "detector": "none"})
    with pytest.raises(UserError, match="made by another model"):
        main(_config(from_run=run, out=str(place / "new")))
    (place / "run/summary.json").unlink()
    with pytest.raises(UserError, match="not a finished run"):
        main(_config(from_run=run, out=str(place / "new")))

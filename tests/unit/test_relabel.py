"""A finished run named anew into another folder, as the command line does it: without pictures, model or Ray."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trygon.archive.run_folder.labelling import Naming, finish
from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.reviews import ReviewLog
from trygon.archive.run_folder.run import Run
from trygon.archive.run_folder.sessions import bind
from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.lease import Hold
from trygon.schemas import DEPLOYMENT
from trygon.storage import read_json, write_json
from trygon.tables import write_table
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import RANKS, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon_jobs.export import ExportConfig
from trygon_jobs.export import main as export
from trygon_jobs.label import LabelConfig, main
from trygon_jobs.review import ReviewConfig
from trygon_jobs.review import main as review
from trygon_jobs.search import SearchConfig
from trygon_jobs.search import main as search

pytestmark = pytest.mark.slow

_CARNIVORE = ("Animalia", "Chordata", "Mammalia", "Carnivora")
TREE = TaxonTree.from_taxa(
    [
        Taxon((*_CARNIVORE, "Felidae", "Panthera", "leo"), "lion"),
        Taxon((*_CARNIVORE, "Felidae", "Panthera", "onca"), "jaguar"),
        Taxon((*_CARNIVORE, "Canidae", "Canis", "lupus"), "wolf"),
    ]
)
BANK = LabelBank(TREE, np.eye(3, dtype=np.float32), 20.0, "some-model", "digest", TextType.SCI)


def _config(**settings: Any) -> LabelConfig:
    return LabelConfig.model_validate(settings)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with labels/ and run/: three frames, each of which shows one of the taxa, less and less surely, and a
    blank."""
    BANK.save(tmp_path / "labels")
    parts, rows = Parts(tmp_path / "run"), []
    for number in range(4):
        box = {"x": 0.1, "y": 0.2, "width": 0.2, "height": 0.2, "category": "animal"}
        box |= {"confidence": (0.9, 0.6, 0.4, 0)[number]}
        box |= {"detection_id": 100 + number, "media_id": number}
        row = {"media_id": number, "path": f"{number}.jpg", "deployment": "a", "bytes": 9, "digest": f"{number:064x}"}
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
    bind(tmp_path / "run", {"model": "digest", "encoder": "torch"}, lambda: {"animal": 0.25})
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
    assert set(_names(out)) == {"Canis lupus", "Panthera leo", None}  # a jaguar is neither
    with (out / "names.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["common", "common", "unmatched"]
    said = capsys.readouterr()
    assert "mine.txt: of 3 names 1 in no label (tiger)" in said.err
    assert "4 images of 1 cameras: 2 with animals, 1 blank" in said.out
    assert "2 animals of 2 taxa in 4 events, 1 observations of something unknown" in said.out

    (place / "country.csv").write_text("scientificName\nPanthera onca\n")
    main(_config(from_run=run, out=str(place / "country"), checklist=str(place / "country.csv")))
    assert _names(place / "country") == [None, "Panthera", "Panthera onca", None]
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


def test_what_the_run_did_again_is_named_anew(place: Path) -> None:
    config = _config(from_run=str(place / "run"), out=str(place / "new"))
    main(config)
    assert _names(place / "new")[3] is None
    parts = Parts(place / "run")
    (frame,) = parts.media().slice(3).to_pylist()
    (box,) = next(parts.detections()).slice(1).to_pylist()
    parts.commit(2, [frame | {"detections": [box | {"detection_id": 103, "media_id": 3}]}])
    parts.drop_superseded()
    before = Run.open(place / "run").summary
    run = finish(place / "run", parts.media(), Naming(Classifier(BANK)), {}, Hold())
    write_json(place / "run/summary.json", before | run.summary | {"stamp": "another"})
    main(config)
    assert _names(place / "new") == _names(place / "run")
    assert _names(place / "new")[3] == _names(place / "new")[1]


def test_table_of_deployments_that_the_run_took_in_is_not_needed_again(place: Path) -> None:
    known = {"deployment": "a", "latitude": 1.5, "longitude": -2.0, "start": None, "end": None}
    write_table(place / "run/deployments.parquet", pa.Table.from_pylist([known], DEPLOYMENT))
    config = json.loads((place / "run/config.json").read_text())
    write_json(place / "run/config.json", config | {"deployments": str(place / "gone.csv")})
    main(_config(from_run=str(place / "run"), out=str(place / "new")))
    assert pq.read_table(place / "new/deployments.parquet").to_pylist() == [known]
    (place / "moved.csv").write_text("deployment,latitude,longitude\na,3,4\n")
    moved = _config(from_run=str(place / "new"), out=str(place / "next"), deployments=str(place / "moved.csv"))
    main(moved)
    assert pq.read_table(place / "next/deployments.parquet")["latitude"].to_pylist() == [3]
    with pytest.raises(UserError, match=r"gone\.csv cannot be read"):
        main(moved.model_copy(update={"deployments": place / "gone.csv"}))


def test_another_table_of_deployments_moves_files_and_tells_of_clocks(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the same table does where the archive is labelled: frames were taken at 0, 1, 2 and 3 o'clock."""
    table = "deployment,start,end,path\na,,2024-05-31 00:30:00,\nb,2024-05-31 02:30:00,,[23].jpg\nc,,,gone\n"
    (place / "moved.csv").write_text(table)
    config = _config(from_run=str(place / "run"), out=str(place / "new"), deployments=str(place / "moved.csv"))
    main(config)
    media = pq.read_table(place / "new/media.parquet")
    assert media["deployment"].to_pylist() == ["a", "a", "b", "b"]
    assert media["clock"].to_pylist() == [None, "outside_deployment", "outside_deployment", None]
    assert pq.read_table(place / "new/events.parquet")["deployment"].to_pylist() == ["a", "a", "b", "b"]
    said = capsys.readouterr()
    assert "no file of the archive lies where 1 of the paths in --deployments lead, such as 'gone'" in said.err
    assert "2 from a clock that is wrong" in said.out
    (place / "moved.csv").write_text(table.replace("[23]", "3"))
    main(config)
    assert pq.read_table(place / "new/media.parquet")["deployment"].to_pylist() == ["a", "a", "a", "b"]
    # What is named anew from there has it from the run.
    main(_config(from_run=str(place / "new"), out=str(place / "next")))
    assert pq.read_table(place / "next/media.parquet") == pq.read_table(place / "new/media.parquet")


def test_boxes_have_to_be_surer_than_the_run_asked_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raised = _config(from_run=str(place / "run"), out=str(place / "new"), animal_threshold=0.6, person_threshold=0.1)
    main(raised)
    assert _names(place / "new") == ["Canis lupus", "Panthera leo", None, None]
    summary = Run.open(place / "new").summary
    assert (summary["num_with_animals"], summary["num_blank"], summary["num_events"]) == (2, 2, 4)
    assert pq.read_table(place / "new/detections.parquet").num_rows == 2
    capsys.readouterr()
    main(raised)
    assert "all of it stood here already" in capsys.readouterr().out
    # What is named anew from there keeps to it, unless it says otherwise: the boxes are all there still.
    main(_config(from_run=str(place / "new"), out=str(place / "next")))
    assert _names(place / "next") == _names(place / "new")
    main(_config(from_run=str(place / "new"), out=str(place / "all"), animal_threshold=0.25))
    assert _names(place / "all") == _names(place / "run")
    with pytest.raises(UserError, match=r"--animal-threshold 0\.2: .*run kept no animal's box below 0\.25; give that"):
        main(_config(from_run=str(place / "run"), out=str(place / "low"), animal_threshold=0.2))
    assert not (place / "low").exists()


def test_times_that_had_an_offset_stay_in_the_zone_that_they_were_moved_into(place: Path) -> None:
    run, summary = str(place / "run"), place / "run/summary.json"
    nairobi = "Africa/Nairobi"
    export(ExportConfig(run=run, out=str(place / "before"), format="csv", time_zone=nairobi))
    write_json(summary, read_json(summary) | {"num_moved": 4})
    refused = r"--time-zone Africa/Nairobi: 4 times of the list of .*run had an offset .* into \+00:00; leave"
    with pytest.raises(UserError, match=refused):
        export(ExportConfig(run=run, out=str(place / "after"), format="csv", time_zone=nairobi))
    with pytest.raises(UserError, match=refused):
        main(_config(from_run=run, out=str(place / "new"), time_zone=nairobi))
    assert not (place / "after").exists()
    assert not (place / "new").exists()
    main(_config(from_run=run, out=str(place / "new"), time_zone="UTC"))
    with pytest.raises(UserError, match=r"list of .*new had"):
        export(ExportConfig(run=str(place / "new"), out=str(place / "after"), format="csv", time_zone=nairobi))


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
    write_json(place / "run/made-with.json", {"model": "other", "detector": "none", "thresholds": {}})
    with pytest.raises(UserError, match="made by another model"):
        main(_config(from_run=run, out=str(place / "new")))
    write_json(place / "run/made-with.json", {"model": "digest", "detector": "none"})
    with pytest.raises(UserError, match="was made by another version"):
        main(_config(from_run=run, out=str(place / "new")))
    (place / "run/summary.json").unlink()
    with pytest.raises(UserError, match="not a finished run"):
        main(_config(from_run=run, out=str(place / "new")))


def _damage(path: Path) -> None:
    """What is in it cannot be read any more; its end can."""
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes(100) + data[104:])


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _told(path: Path) -> str:
    return f"^{path} is damaged: remove it, and give the `trygon label` command that made that run again: .*$"


@pytest.mark.parametrize("harm", [_truncate, _damage])
@pytest.mark.parametrize("name", ["parts/part-00001", "vectors/part-00001", "media"])
def test_damaged_file_of_the_run_is_one_line(name: str, harm: Callable[[Path], None], place: Path) -> None:
    file = place / f"run/{name}.parquet"
    harm(file)
    with pytest.raises(UserError, match=_told(file)):
        main(_config(from_run=str(place / "run"), out=str(place / "new")))
    assert not (place / "new/summary.json").exists()


def test_part_that_was_damaged_and_done_again_is_brought_anew(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both folders hold one file, and its number is given again; or each has its own, and one of them breaks."""
    config = _config(from_run=str(place / "run"), out=str(place / "new"))
    main(config)
    parts, here = Parts(place / "run"), place / "new/vectors/part-00001.parquet"
    frames = parts.media().slice(2).to_pylist()
    boxes = [table.to_pylist() for table in parts.detections()][1]
    file = place / "run/vectors/part-00001.parquet"
    _damage(file)
    (place / "new/summary.json").unlink()
    with pytest.raises(UserError, match=_told(file)):
        main(config)
    file.unlink()
    assert parts.clean() == 1
    parts.commit(
        1, [row | {"detections": [it for it in boxes if it["media_id"] == row["media_id"]]} for row in frames]
    )
    with pytest.raises(UserError, match=_told(here)):
        main(config)
    here.unlink()
    main(config)
    assert _names(place / "new") == _names(place / "run")
    _truncate(place / "new/observations.parquet")
    capsys.readouterr()
    main(config)
    assert "stood here already" not in capsys.readouterr().out
    assert _names(place / "new") == _names(place / "run")


def test_run_that_lacks_a_part_is_not_relabelled_as_if_its_frames_were_blank(place: Path) -> None:
    config = _config(from_run=str(place / "run"), out=str(place / "new"))
    for _ in range(2):
        (place / "run/parts/part-00001.parquet").unlink(missing_ok=True)
        with pytest.raises(UserError, match=r"run lacks parts with \d+ of its frames: give the"):
            main(config)
        assert not (place / "new/summary.json").exists()


@pytest.mark.parametrize("harm", [_truncate, _damage, Path.unlink])
def test_damaged_table_ends_export_review_and_search_in_one_line(harm: Callable[[Path], None], place: Path) -> None:
    run, out = place / "run", str(place / "export")
    for name in ("observations", "events", "media", "detections"):
        file = run / f"{name}.parquet"
        data = file.read_bytes()
        harm(file)
        told = _told(file) if file.exists() else f"^{file} is missing: give the `trygon label` command"
        with pytest.raises(UserError, match=told):
            export(ExportConfig(run=str(run), out=out, format="csv"))
        with pytest.raises(UserError, match=told):
            review(ReviewConfig.model_validate({"run": str(run), "open": False}))
        if name in ("observations", "media"):
            with pytest.raises(UserError, match=told):
                search(SearchConfig.model_validate({"run": str(run), "observation": 100}))
        file.write_bytes(data)
    shutil.rmtree(run / "search", ignore_errors=True)  # it holds the vectors
    file = run / "vectors/part-00001.parquet"
    harm(file)
    with pytest.raises(UserError, match=_told(file) if file.exists() else f"^{file} is missing"):
        search(SearchConfig.model_validate({"run": str(run), "observation": 100}))

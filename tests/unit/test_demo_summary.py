"""What the demo says at its end, read from small files as the steps write them."""

import csv
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trygon.archive.run_folder.parts import Parts
from trygon.schemas import BOX as BOX_TABLE
from trygon.schemas import COUNT, EVENT, FAILURE, MEDIA, OBSERVATION
from trygon.storage import write_json
from trygon.taxonomy.taxon import RANKS
from trygon_jobs.demo_summary import lines

FOX = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Vulpes", "vulpes")
LYNX = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Lynx", "lynx")
BOX = {"x": 0.2, "y": 0.2, "width": 0.4, "height": 0.4}
BESIDE = {"x": 0.7, "y": 0.7, "width": 0.2, "height": 0.2}


def _lineage(names: Sequence[str], rank: str = "species") -> dict[str, str]:
    return dict(zip(RANKS[: RANKS.index(rank) + 1], names, strict=False))


def _frame(out: Path, frames: Sequence[tuple[str, list[tuple[dict[str, float], Sequence[str], str]]]]) -> None:
    """A run folder: each frame's path, and of each box its place, the lineage and the rank that it was given."""
    rows, observations = [], []
    for media_id, (path, boxes) in enumerate(frames):
        media = {"media_id": media_id, "path": path, "deployment": "north", "detections": []}
        if path == "broken.jpg":
            media["failure"] = "empty"
        for box, names, rank in boxes:
            detection_id = 100 + len(observations)
            row = {"media_id": media_id, "detection_id": detection_id}
            media["detections"].append(row | box | {"category": "animal", "confidence": 0.9, "vector": None})
            row |= {"observation_id": detection_id, "event_id": 1, "type": "animal", "rank": rank}
            row["decided_by"] = "classifier"
            observations.append(row | _lineage(names, rank))
        rows.append(media)
    Parts(out / "run").commit(0, rows)
    failures = [row | {"reason": row["failure"]} for row in rows if row.get("failure")]
    boxes = [box for row in rows for box in row["detections"]]
    tables = {
        "media": (rows, MEDIA),
        "detections": (boxes, BOX_TABLE),
        "observations": (observations, OBSERVATION),
        "events": ([], EVENT),
        "failures": (failures, FAILURE),
    }
    for name, (content, schema) in tables.items():
        pq.write_table(pa.Table.from_pylist(content, schema), out / f"run/{name}.parquet")
    write_json(out / "run/summary.json", {})


def _truth(out: Path, rows: Sequence[tuple[str, str, Sequence[str], dict[str, float]]]) -> None:
    with (out / "archive-truth.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "kind", *RANKS, *BOX])
        writer.writeheader()
        for path, kind, names, box in rows:
            writer.writerow({"path": path, "kind": kind} | _lineage(names) | box)


def _metrics() -> dict[str, float]:
    figures = {"top1": 0.25, "top1_low": 0.1, "top1_high": 0.5, "n": 12, "chance": 0.05}
    keys = [f"zero_shot/unseen/{text_type}/species" for text_type in ("taxon", "sci", "com", "taxon_com")]
    found = {f"{key}/{name}": value for key in keys for name, value in figures.items()}
    return found | {f"baseline/{key}/top1": 0.125 for key in keys} | {"zero_shot/unseen/com/species/top1": 0.375}


def _answer(names: Sequence[str], rank: str | None) -> dict[str, Any]:
    guesses = dict(zip(RANKS, (*names[:6], f"{names[5]} {names[6]}"), strict=True))
    taxon = {"rank": rank, "scientific": guesses[rank], "probability": 0.75} if rank else None
    lineage = {name: {"name": guess, "probability": 0.5} for name, guess in guesses.items()}
    return {"taxon": taxon, "lineage": lineage, "floor": 0.5}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_json(tmp_path / "evaluation/metrics.json", _metrics())
    counts = [
        {"split": split, "source": "photos", **dict(zip(RANKS, names, strict=True)), "num_samples": 1}
        for split, names in (("train", FOX), ("unseen", LYNX))
    ]
    (tmp_path / "shards").mkdir()
    pq.write_table(pa.Table.from_pylist(counts, schema=COUNT), tmp_path / "shards/counts.parquet")
    _frame(
        tmp_path,
        [
            ("a.jpg", [(BOX, FOX, "order"), (BESIDE, FOX, "class")]),
            ("b.jpg", [(BOX, LYNX, "species")]),
            ("c.jpg", [(BESIDE, FOX, "species")]),
            ("d.jpg", [(BOX, ("Animalia", "Chordata", "Aves"), "class")]),
            ("night.jpg", [(BOX, FOX, "species")]),
            ("blank.jpg", [(BOX, FOX, "class")]),
            ("broken.jpg", []),
        ],
    )
    _truth(
        tmp_path,
        [
            ("a.jpg", "animal", FOX, BOX),
            ("b.jpg", "animal", LYNX, BOX),
            ("c.jpg", "animal", FOX, BOX),
            ("d.jpg", "animal", FOX, BOX | {"x": 0.25}),
            ("night.jpg", "animal", LYNX, {}),
            ("blank.jpg", "blank", (), {}),
            ("broken.jpg", "broken", (), {}),
        ],
    )
    _write_answer(tmp_path, _answer(FOX, "order"))
    steps = {
        "sample": {"seconds": 10.0, "peak_memory_bytes": 10, "was_complete": True},
        "train": {"seconds": 90.0, "peak_memory_bytes": 2_000_000_000, "was_complete": False},
    }
    total = {"seconds": 100.0, "peak_memory_bytes": 2_000_000_000}
    write_json(tmp_path / "summary.json", {"steps": steps, "last_run": steps, "total": total})
    return tmp_path


def _write_answer(
    out: Path, answer: dict[str, Any], source_id: str = "lynx.png", common: str = "Eurasian lynx"
) -> None:
    photo = _lineage(LYNX) | {"common": common, "source_id": source_id}
    write_json(out / "answer.json", {"photo": photo, "answer": answer})


def _line(out: Path, start: str) -> str:
    return next(line for line in lines(out) if line.strip().startswith(start))


def _shares(out: Path, start: str) -> list[str]:
    return re.findall(r"\d+ of \d+", _line(out, start))


def test_each_text_type_has_its_line(out: Path) -> None:
    assert "(12 photos)" in _line(out, "[bold]Species held out of training")
    assert _line(out, "taxon ").split() == ["taxon", "25.0", "(10", "to", "50)", "12.5", "5.0"]
    assert _line(out, "com ").split()[1] == "37.5"
    assert len([line for line in lines(out) if "(10 to 50)" in line]) == 4


def test_boxes_are_counted_against_the_truth(out: Path) -> None:
    line = _line(out, "[bold]Archive[/]")
    assert "7 files, 1 of them broken" in line
    assert "found 4 of 5 animals" in line  # c.jpg has a box, but not on the animal
    assert "3 boxes on something else, 1 of them on the 1 blank frames" in line


def test_names_are_counted_at_the_ranks_that_were_given(out: Path) -> None:
    assert _shares(out, "species in training") == ["1 of 2", "1 of 1", "1 of 2"]
    # The lynx by night was called a fox: right down to the order, wrong at the species.
    assert _shares(out, "species not in training") == ["2 of 2", "2 of 2", "1 of 2"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (_answer(FOX, "order"), "order Carnivora (probability 0.75), which is right; its best guesses are right down"),
        (_answer(FOX, "order"), "right down to order Carnivora, then family Canidae and not Felidae"),
        (_answer(FOX, "species"), "species Vulpes vulpes (probability 0.75), which is wrong"),
        (
            _answer(LYNX, "species"),
            "species Lynx lynx (probability 0.75), which is right; its best guesses are right d",
        ),
        (_answer(LYNX, None), "nothing with a probability of 0.50 or more; its best guesses are right down to the sp"),
        (_answer(("Plantae", *FOX[1:]), None), "its best guesses are not right: kingdom Plantae and not Animalia"),
    ],
)
def test_the_answer_is_held_against_what_the_photo_shows(answer: dict[str, Any], expected: str, out: Path) -> None:
    _write_answer(out, answer)
    assert "photo.jpg shows Eurasian lynx (Lynx lynx), which was held out of training" in _line(
        out, "[bold]One request"
    )
    assert expected in _line(out, "the classifier says")


def test_costs_name_what_they_leave_out(out: Path) -> None:
    expected = "100 s, at most 2.0 GB (without sample: done before the demo's first run)"
    assert _line(out, "[bold]Cost").endswith(expected)


def test_the_command_to_serve_can_be_typed(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path(sys.executable).parent / "trygon"
    monkeypatch.chdir(script.parents[2])
    command = next(line for line in lines(out) if " serve --model " in line).split()[0]
    assert command == os.path.join(*script.parts[-3:])
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3.11")
    assert "/usr/bin/python3.11 -m trygon_jobs serve --model" in "\n".join(lines(out))


def test_drawn_organisms_are_not_called_photos(out: Path) -> None:
    assert not any("Drawn" in line for line in lines(out))
    _write_answer(out, _answer(FOX, "order"), "drawn/beast/Lynx_lynx-0.png", common="")
    told = list(lines(out))
    assert told[0].startswith("[bold]Drawn organisms[/] stand in for photos, of species that are made up")
    assert "(12 drawings)" in _line(out, "[bold]Species held out of training")
    assert "photo.jpg shows an invented species (Lynx lynx)" in _line(out, "[bold]One request")
    assert not any(" photos)" in line for line in told)

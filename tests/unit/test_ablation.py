"""Grids to cells, mistakes in grids in one line, and the table, CSV and page of a comparison."""

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pytest

from trygon.data.shards import COUNTS, shard_path, write_rows, write_shard
from trygon.errors import UserError
from trygon.evaluation.comparison import Row, as_csv, as_markdown, page, shown_keys, table
from trygon.schemas import COUNT, SAMPLE
from trygon.storage import write_json, write_text
from trygon.training.objective import CLASSIFIED
from trygon_jobs.ablate import _figures, _identify, _make_room, _reason
from trygon_jobs.grid import Cell, read_cells
from trygon_jobs.train import TrainConfig

GRIDS = sorted(Path(__file__).parents[2].glob("jobs/trygon_jobs/grids/*.yaml"))


def _read(folder: Path, text: str) -> list[Cell]:
    (folder / "grid.yaml").write_text(text)
    return read_cells(str(folder / "grid.yaml"))


def test_cells_are_all_combinations_of_the_values(tmp_path: Path) -> None:
    cells = _read(
        tmp_path,
        """
        base: {extends: tol1m, epochs: 3, sources: {eol: 1}}
        axes:
          objective: [clip, siglip]
          text_types: {taxon: [taxon], both: [sci, com]}
          data:
            all: {sources: {}}
            inat21: {sources: {inat21: 0.5}, epochs: 6}
        """,
    )
    assert [cell.name for cell in cells[:3]] == ["clip-taxon-all", "clip-taxon-inat21", "clip-both-all"]
    assert len(cells) == 8
    assert cells[1].choices == {"objective": "clip", "text_types": "taxon", "data": "inat21"}
    configs = {cell.name: cell.config("s", f"o/{cell.name}") for cell in cells}
    first, second, last = configs["clip-taxon-all"], configs["clip-taxon-inat21"], configs["siglip-both-all"]
    assert (first.epochs, second.epochs) == (3, 6)
    assert (first.sources, second.sources) == ({}, {"inat21": 0.5})
    assert (last.objective, last.text_types, last.out) == ("siglip", ("sci", "com"), "o/siglip-both-all")
    assert (last.batch_size, last.initial.pretrained) == (16384, "openai")


@pytest.mark.parametrize("grid", GRIDS, ids=lambda path: path.stem)
def test_grids_that_ship_are_complete(grid: Path) -> None:
    cells = read_cells(grid.stem)
    assert len(cells) > 1
    assert all(cell.config("s", "o") for cell in cells)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("axes: {objective: [clip]}\nbases: x", "a grid has `axes`"),
        ("base: tol1m", "a grid has `axes`"),
        ("- objective", "a grid has `axes`"),
        ("base: nope\naxes: {objective: [clip]}", "extends nope: no such recipe"),
        ("base: {epoch: 3}\naxes: {objective: [clip]}", "base: epoch is no setting of `trygon train`"),
        ("base: {shards: x}\naxes: {objective: [clip]}", "base: shards is given on the command line, as --shards"),
        ("axes: {objektive: [clip]}", "axes.objektive: objektive is no setting of `trygon train`"),
        ("axes: {size: {big: {batch: 3}}}", "axes.size: batch is no setting of `trygon train`"),
        ("axes: {text_types: [[taxon]]}", "axes.text_types: values that are no single words or numbers need names"),
        ("axes: {objective: []}", "axes.objective: give a list of values"),
        ("axes: {objective: {a/b: clip}}", "axes.objective: 'a/b' is to be the name of a folder"),
        ("axes: {a: {x-y: {}, x: {}}, b: {z: {}, y-z: {}}}", "two cells would be called x-y-z"),
        ("axes: [objective]", "`axes` are settings with their values"),
        ("axes: {", "is not YAML"),
    ],
)
def test_mistakes_in_a_grid_name_the_key(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        _read(tmp_path, text)
    assert expected in str(caught.value)
    assert "grid.yaml" in str(caught.value)


def test_a_value_that_training_would_not_take_names_its_cell(tmp_path: Path) -> None:
    cells = _read(tmp_path, "base: {workers: 4}\naxes: {batch_size: [64, 3]}")
    with pytest.raises(UserError, match=r"cell 3: batch_size: .*at least the number of workers"):
        cells[1].config("s", "o")
    with pytest.raises(UserError, match="grid nope: no such file, nor a grid of that name \\(grids: objectives, "):
        read_cells("nope")


_KEY = "zero_shot/unseen/taxon/genus/top1"
_ROWS = [
    Row({"objective": "clip"}, {_KEY: 0.25, f"{_KEY}_low": 0.101, f"{_KEY}_high": 0.4, "training_s": 61.4}),
    Row(
        {"objective": "classes"},
        {"few_shot/seen/1/top1": 0.5, "few_shot/seen/1/top1_std": 0.0123, "training_s": 59.6},
    ),
    Row({"objective": "siglip"}, reason="out of | memory"),
]


def test_shards_that_measure_nothing_are_told_before_training(tmp_path: Path) -> None:
    blank = {field.name: "" for field in SAMPLE if str(field.type) == "string"}
    for split in ("train", "val"):
        write_shard(shard_path(tmp_path, split, 0), [blank | {"sample_id": 1, "image": b"x", "split": split}])
    counts = [blank | {"split": "val", "source": "s", "class": "Insecta", "num_samples": 1}]
    write_rows(tmp_path / COUNTS, pa.Table.from_pylist(counts, schema=COUNT))
    with pytest.raises(UserError, match="no picture of the val and unseen shards is named to the species"):
        _identify(str(tmp_path))
    counts.append(counts[0] | {"genus": "Apis", "species": "mellifera"})
    write_rows(tmp_path / COUNTS, pa.Table.from_pylist(counts, schema=COUNT))
    assert _identify(str(tmp_path))["val"]


def test_table_shows_what_there_is() -> None:
    header, clip, classes, failed = table(_ROWS)
    assert header == ["objective", "unseen genus", "seen 1-shot", "training s", "failed"]
    assert clip == ["clip", "25.0 (10–40)", "", "61", ""]
    assert classes == ["classes", "", "50.0 ±1.2", "60", ""]
    assert failed == ["siglip", "", "", "", "out of | memory"]
    lines = as_markdown(table(_ROWS)).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[-1].endswith("| out of \\| memory |")
    assert table(_ROWS[:2])[0][-1] == "training s"


def test_csv_has_every_figure_as_a_number() -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(_ROWS))))
    assert [line["objective"] for line in lines] == ["clip", "classes", "siglip"]
    assert float(lines[0][f"{_KEY}_low"]) == 0.101
    assert lines[1][_KEY] == ""
    assert lines[2]["failed"] == "out of | memory"


def test_models_of_different_text_types_are_compared_on_each() -> None:
    keys = {kind: f"zero_shot/unseen/{kind}/species/top1" for kind in ("sci", "taxon", "taxon_com")}
    figures = {key + end: 0.5 for key in keys.values() for end in ("", "_low", "_high")}
    header, line = table([Row({"text_types": "com"}, figures)])
    by_text_type = [f"unseen species by {kind}" for kind in ("taxon", "sci", "taxon_com")]
    assert header == ["text_types", "unseen species", *by_text_type]
    assert line[1:] == ["50.0 (50–50)"] * 4
    other = [Row({"objective": "clip"}, figures)]
    assert table(other)[0] == ["objective", "unseen species"]
    (cells,) = csv.DictReader(io.StringIO(as_csv(other)))
    assert [cells[key] for key in keys.values()] == ["0.5"] * 3


def test_page_has_table_and_plots_and_escapes_names() -> None:
    text = page("Ablation: <x>", [*_ROWS, Row({"objective": "a&b"}, {}, "<script>")])
    assert "Ablation: &lt;x&gt;" in text
    assert "<script>" not in text
    assert text.count("<svg") == 1
    assert "25.0 (10–40)" in text
    assert "<svg" not in page("nothing done", _ROWS[2:])


@pytest.mark.filterwarnings("error")
def test_one_model_alone_has_a_plot_that_fits() -> None:
    assert "<svg" in page("Ablation", [Row({"objective": "clip"}, dict.fromkeys(shown_keys(), 0.5))])


def test_figures_are_those_that_the_table_shows_and_a_classifier_has_none_by_names(tmp_path: Path) -> None:
    zero_shot = {"zero_shot/seen/taxon/species/top1": 0.5, "zero_shot/seen/sci/species/top1": 0.25}
    few_shot = {"few_shot/seen/5/top1": 0.75, "few_shot/seen/5/top1_std": 0.01}
    measured = zero_shot | few_shot | {"zero_shot/seen/taxon/species/n": 16, "baseline/few_shot/seen/5/top1": 0.125}
    write_json(tmp_path / "evaluation/metrics.json", measured)
    lines = [{"step": step, "data_s": 0.25, "step_s": 0.5} for step in (1, 2)]
    write_text(tmp_path / "model/metrics.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))
    assert _figures(str(tmp_path), "clip_taxa") == zero_shot | few_shot | {"training_s": 1.5}
    for objective in CLASSIFIED:
        assert _figures(str(tmp_path), objective) == few_shot | {"training_s": 1.5}


def test_reason_is_the_line_that_a_command_ended_with() -> None:
    assert _reason("train ━━ 3/5\r\x1b[2Ktrain ━━ 4/5\n\x1b[31merror: no room\x1b[0m\n") == "no room"
    assert _reason("one\ntwo\n\n") == "two"
    assert _reason("") == ""


def test_training_under_way_with_other_settings_is_not_thrown_away(tmp_path: Path) -> None:
    """What came to no checkpoint is; and settings that an earlier version did not have are no other ones."""
    training = TrainConfig.model_validate({"shards": "s", "out": str(tmp_path / "model"), "epochs": 100})
    begun = training.model_dump(mode="json")
    old = {name: value for name, value in begun.items() if name not in ("max_gradient_norm", "max_cut")}
    saved = tmp_path / "model/checkpoints/run/leg-000001/state.pt"
    write_text(saved, "")
    write_json(tmp_path / "model/config.json", old)
    _make_room(training)
    assert saved.exists()
    write_json(tmp_path / "model/config.json", begun | {"epochs": 90})
    with pytest.raises(UserError, match="holds training under way with another epochs: put that back to go on"):
        _make_room(training)
    assert saved.exists()
    saved.unlink()
    _make_room(training)
    assert not (tmp_path / "model").exists()

"""Splits hold species apart, views are the same every time, and what cannot be used has a reason."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trygon.data.composites import clean_view, open_organism, training_view
from trygon.data.curation import (
    Photo,
    Recipe,
    inspect_photo,
    make_shard,
    plan_shards,
    read_labels,
    split_photos,
)
from trygon.data.shards import ROW_GROUP_ROWS, read_samples
from trygon.errors import UserError
from trygon.schemas import SAMPLE
from trygon.taxonomy.taxon import Taxon
from trygon.testing.photos import draw_photo, write_labels, write_photo_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_photo_folder(tmp_path / "photos")
    return tmp_path / "photos"


def test_species_are_held_apart(folder: Path) -> None:
    photos, rejects = read_labels(folder)
    splits, _ = split_photos(photos, holdout=0.25, seed=1)
    species = {split: {photo.taxon.lineage for photo in group if photo.at_species} for split, group in splits.items()}
    assert not rejects
    assert species["unseen"]
    assert not species["unseen"] & species["train"]
    assert species["val"] == species["train"]
    paths = {split: {photo.path for photo in group} for split, group in splits.items()}
    assert not paths["val"] & paths["train"]
    assert "genus.jpg" in paths["train"]
    assert sum(map(len, splits.values())) == len(photos)


def test_a_held_out_species_stays_so_when_others_come(folder: Path) -> None:
    photos, _ = read_labels(folder)
    held_out = {photo.taxon.lineage for photo in split_photos(photos, 0.25, 1)[0]["unseen"]}
    fewer = [photo for photo in photos if photo.taxon.lineage[5] != "Bufo"]
    assert {photo.taxon.lineage for photo in split_photos(fewer, 0.25, 1)[0]["unseen"]} <= held_out


def test_a_photo_above_species_that_may_show_a_held_out_one_is_left_out() -> None:
    lineage = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo")
    genus = (*lineage[:6], "")
    photos = [Photo("a.png", Taxon(lineage), "test"), Photo("b.png", Taxon(genus), "test")]
    splits, rejects = split_photos(photos, holdout=0.999999, seed=0)
    assert not splits["train"]
    assert [(reject.source_id, reject.reason) for reject in rejects] == [("b.png", "may_show_held_out_species")]


def test_what_cannot_be_used_has_a_reason(folder: Path) -> None:
    rows = write_photo_folder(folder)
    draw_photo(folder / "stray.png", 7, cutout=True)
    (folder / "broken.jpg").write_bytes((folder / "genus.jpg").read_bytes()[:900])
    nameless = {"path": "genus.jpg", "kingdom": "unknown"}
    write_labels(folder, [*rows[:-1], nameless, rows[0] | {"path": "gone.png"}, rows[0] | {"path": "broken.jpg"}])
    photos, rejects = read_labels(folder)
    reasons = {reject.source_id: reject.reason for reject in rejects}
    assert reasons == {"stray.png": "unlabelled", "genus.jpg": "no_name", "gone.png": "missing"}
    inspected = {photo.path: inspect_photo(folder, photo) for photo in photos}
    assert inspected["broken.jpg"] == ("", "truncated")
    assert not inspected[rows[0]["path"]][1]


@pytest.mark.parametrize(
    ("labels", "message"), [(None, "has no labels.csv"), ("path,kingdom\n", "no column 'phylum'")]
)
def test_a_folder_without_labels_is_the_users_error(tmp_path: Path, labels: str | None, message: str) -> None:
    if labels:
        (tmp_path / "labels.csv").write_text(labels)
    with pytest.raises(UserError, match=message):
        read_labels(tmp_path)


def test_labels_that_excel_wrote_are_read(folder: Path) -> None:
    write_photo_folder(folder)
    expected, _ = read_labels(folder)
    text = (folder / "labels.csv").read_text(encoding="utf-8")
    (folder / "labels.csv").write_text(text, encoding="utf-8-sig")
    assert read_labels(folder)[0] == expected


def test_shards_are_the_same_every_time(folder: Path, tmp_path: Path) -> None:
    photos, _ = read_labels(folder)
    splits, _ = split_photos(photos, 0.25, 1)
    recipe = Recipe(str(folder), "", views=4, side=48, seed=1)
    tables = []
    for out in (tmp_path / "a", tmp_path / "b"):
        out.mkdir()
        plans = plan_shards(splits, out, recipe, shard_rows=70)
        assert sum(make_shard(plan, recipe) for plan in plans) == sum(len(plan.views) for plan in plans)
        tables.append(read_samples(out, "train", SAMPLE.names))
    assert tables[0].equals(tables[1])
    assert tables[0].schema == SAMPLE
    assert len(set(tables[0]["sample_id"].to_pylist())) == 4 * len(splits["train"])
    assert Image.open(io.BytesIO(tables[0]["image"][0].as_py())).size == (48, 48)
    first = pq.ParquetFile(tmp_path / "a" / "train-00000.parquet").metadata
    assert first.num_row_groups == -(-first.num_rows // ROW_GROUP_ROWS)
    # Views of one photo lie apart: a shard holds many photos.
    assert len(set(pq.read_table(tmp_path / "a" / "train-00000.parquet")["source_id"].to_pylist())) > 12


def test_a_finished_shard_is_not_made_again(folder: Path, tmp_path: Path) -> None:
    photos, _ = read_labels(folder)
    recipe = Recipe(str(folder), "", views=1, side=32, seed=1)
    plan = plan_shards({"train": photos}, tmp_path, recipe, shard_rows=1000)[0]
    make_shard(plan, recipe)
    before = Path(plan.path).stat().st_mtime_ns
    assert make_shard(plan, recipe) == len(photos)
    assert Path(plan.path).stat().st_mtime_ns == before


@pytest.mark.parametrize("cutout", [True, False])
def test_views_have_their_size(tmp_path: Path, cutout: bool) -> None:
    path = tmp_path / f"organism.{'png' if cutout else 'jpg'}"
    draw_photo(path, 30, cutout, size=(200, 100))
    organism = open_organism(path.read_bytes())
    assert organism.mode == ("RGBA" if cutout else "RGB")
    ground = Image.new("RGB", (90, 70), "green")
    for seed in range(20):
        view = training_view(organism, [ground], 64, np.random.default_rng(seed))
        assert (view.size, view.mode) == ((64, 64), "RGB")
    assert min(clean_view(organism, 64).size) == 64

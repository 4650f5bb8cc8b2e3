"""Row groups to arrays for training: the same on every worker, whatever is broken. Without Ray."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from trygon.data.augmentation import augment, draw_crop
from trygon.data.images import ResizeMode, encode_jpeg
from trygon.data.ingest import Preparation, Preparer, draw_text_type
from trygon.data.row_groups import list_row_groups
from trygon.data.shards import ROW_GROUP_ROWS, write_rows, write_shard
from trygon.errors import TrygonError
from trygon.models.model import load_tokenizer
from trygon.taxonomy.captions import MIXED, TextType, caption
from trygon.taxonomy.clades import clade_keys
from trygon.taxonomy.taxon import RANKS, Taxon
from trygon.testing.tiny import TINY_SIDE, write_tiny_model

MakeTokenizer = Callable[[], Any]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> MakeTokenizer:
    """What makes the tokenizer of a tiny model."""
    return partial(load_tokenizer, str(write_tiny_model(tmp_path_factory.mktemp("tiny"))))


def _rows(count: int, broken: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        taxon = ("Animalia", "Chordata", "Aves", "O", "F", "Genus", f"s{number % 5}")
        image = encode_jpeg(Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)))
        fixed = {"common": f"bird {number % 5}", "split": "train", "source": "test", "source_id": str(number)}
        names = dict(zip(RANKS, taxon, strict=True))
        rows.append({"sample_id": 1000 + number, "image": b"" if number in broken else image} | names | fixed)
    return rows


def _read(
    preparer: Preparer, path: Path, index: int = 0, epoch: int = 0, rows: tuple[int, int] = (0, 1000)
) -> dict[str, np.ndarray]:
    visit = {"path": str(path), "index": index, "epoch": epoch, "first": rows[0], "last": rows[1]}
    return preparer({name: np.asarray([value]) for name, value in visit.items()})


def test_a_sample_is_a_function_of_seed_epoch_and_id(tiny: MakeTokenizer, tmp_path: Path) -> None:
    rows = _rows(70)
    write_shard(tmp_path / "a.parquet", rows)
    preparation = Preparation(tiny, TINY_SIDE, ResizeMode.SQUASH, MIXED, seed=5, crop_ratio=(0.75, 1.5), mirror=False)
    preparer = Preparer(preparation)
    prepared = _read(preparer, tmp_path / "a.parquet", index=1, epoch=3)
    assert prepared["image"].shape == (70 - ROW_GROUP_ROWS, 3, TINY_SIDE, TINY_SIDE)
    for position, row in enumerate(rows[ROW_GROUP_ROWS:]):
        taxon = Taxon.from_row(row)
        crop = draw_crop((0.9, 1.0), (0.75, 1.5), False, random.Random(f"5/3/{row['sample_id']}/image"))
        text = caption(taxon, draw_text_type(preparation, 3, row["sample_id"]))
        assert (prepared["image"][position] == augment(row["image"], TINY_SIDE, ResizeMode.SQUASH, crop)).all()
        assert (prepared["tokens"][position] == preparer.tokenizer([text]).numpy()[0]).all()
        assert prepared["clades"][position].tolist() == list(clade_keys(taxon.lineage))
    # Read before or not, in whatever order: the same.
    _read(preparer, tmp_path / "a.parquet", epoch=9)
    again = _read(preparer, tmp_path / "a.parquet", index=1, epoch=3)
    assert all((again[name] == prepared[name]).all() for name in prepared)
    assert (_read(preparer, tmp_path / "a.parquet", index=1, epoch=4)["image"] != prepared["image"]).any()
    some = _read(preparer, tmp_path / "a.parquet", index=1, epoch=3, rows=(2, 5))
    assert all((some[name] == prepared[name][2:5]).all() for name in prepared)


def test_a_broken_picture_is_stood_in_for_and_told(tiny: MakeTokenizer, tmp_path: Path) -> None:
    write_shard(tmp_path / "whole.parquet", _rows(6))
    write_shard(tmp_path / "broken.parquet", _rows(6, broken=(1, 2, 5)))
    preparer = Preparer(Preparation(tiny, TINY_SIDE, ResizeMode.SQUASH, MIXED, seed=0))
    whole, broken = (_read(preparer, tmp_path / f"{name}.parquet") for name in ("whole", "broken"))
    assert broken["broken"].tolist() == [False, True, True, False, False, True]
    assert not whole["broken"].any()
    for name in ("image", "tokens", "clades"):  # picture and caption go together
        assert (broken[name] == whole[name][[0, 3, 3, 3, 4, 0]]).all()


def test_a_visit_of_one_broken_row_takes_another_of_its_row_group(tiny: MakeTokenizer, tmp_path: Path) -> None:
    write_shard(tmp_path / "broken.parquet", _rows(6, broken=(0, 3)))
    preparer = Preparer(Preparation(tiny, TINY_SIDE, ResizeMode.SQUASH, MIXED, seed=0))
    whole = _read(preparer, tmp_path / "broken.parquet")
    one = _read(preparer, tmp_path / "broken.parquet", rows=(3, 4))
    assert one["broken"].tolist() == [True]
    for name in ("image", "tokens", "clades"):
        assert (one[name] == whole[name][[1]]).all()


def test_a_row_group_without_one_whole_picture_ends_training_with_its_name(
    tiny: MakeTokenizer, tmp_path: Path
) -> None:
    write_shard(tmp_path / "lost.parquet", _rows(3, broken=(0, 1, 2)))
    preparer = Preparer(Preparation(tiny, TINY_SIDE, ResizeMode.SQUASH, MIXED, seed=0))
    with pytest.raises(TrygonError, match=r"lost\.parquet: none of 3 pictures of row group 0"):
        _read(preparer, tmp_path / "lost.parquet")


def test_a_step_is_given_every_text_type_to_choose_from(tiny: MakeTokenizer, tmp_path: Path) -> None:
    rows = _rows(3)
    write_shard(tmp_path / "a.parquet", rows)
    template = "{name}, one of the {family}"
    preparation = Preparation(tiny, TINY_SIDE, ResizeMode.SQUASH, MIXED, seed=0, template=template, text_draw="step")
    preparer = Preparer(preparation)
    tokens_BTL = _read(preparer, tmp_path / "a.parquet")["tokens"]
    assert tokens_BTL.shape == (3, len(MIXED), 77)
    for row, tokens_TL in zip(rows, tokens_BTL, strict=True):
        texts = [caption(Taxon.from_row(row), text_type, template) for text_type in MIXED]
        assert (tokens_TL == preparer.tokenizer(texts).numpy()).all()


def test_features_are_read_where_a_shard_holds_them(tiny: MakeTokenizer, tmp_path: Path) -> None:
    feature_BF = np.arange(24, dtype=np.float32).reshape(4, 6)
    table = pa.Table.from_pylist(_rows(4)).drop(["image"])
    column = pa.FixedSizeListArray.from_arrays(pa.array(feature_BF.ravel()), 6)
    table = table.append_column("feature", column).append_column("broken", pa.array([False, False, True, False]))
    write_rows(tmp_path / "a.parquet", table)
    prepared = _read(Preparer(Preparation(tiny, TINY_SIDE, ResizeMode.SQUASH, MIXED, seed=0)), tmp_path / "a.parquet")
    assert (prepared["feature"] == feature_BF[[0, 1, 3, 3]]).all()
    assert prepared["broken"].tolist() == [False, False, True, False]
    some = _read(
        Preparer(Preparation(tiny, TINY_SIDE, ResizeMode.SQUASH, MIXED, seed=0)), tmp_path / "a.parquet", rows=(1, 3)
    )
    assert (some["feature"] == feature_BF[[1, 1]]).all()
    assert "image" not in prepared


def test_sources_come_by_their_weights(tiny: MakeTokenizer, tmp_path: Path) -> None:
    rows = [row | {"source": f"s{number % 4}", "sample_id": number} for number, row in enumerate(_rows(4 * 64))]
    write_shard(tmp_path / "a.parquet", rows)
    weights = {"s0": 1.0, "s1": 0.5, "s2": 2.25}
    groups = list_row_groups([str(tmp_path / "a.parquet")], weights)
    preparer = Preparer(Preparation(tiny, TINY_SIDE, ResizeMode.SQUASH, (TextType.COM,), seed=0, sources=weights))
    prepared = [_read(preparer, tmp_path / "a.parquet", group.index) for group in groups]
    assert [len(it["clades"]) for it in prepared] == [group.num_rows for group in groups]
    count = sum(group.num_rows for group in groups)
    assert count == pytest.approx(64 * (1 + 0.5 + 2.25), abs=16)
    assert sum(group.num_rows for group in list_row_groups([str(tmp_path / "a.parquet")], {"s0": 1.0})) == 64
    parts = [
        _read(preparer, tmp_path / "a.parquet", groups[0].index, rows=(n, n + 1)) for n in range(groups[0].num_rows)
    ]
    for name, column in prepared[0].items():
        assert (np.concatenate([part[name] for part in parts]) == column).all()


def test_samples_that_come_twice_an_epoch_are_drawn_twice(tiny: MakeTokenizer, tmp_path: Path) -> None:
    write_shard(tmp_path / "a.parquet", [row | {"source": "s"} for row in _rows(32)])
    kinds = (TextType.TAXON, TextType.SCI)
    once, twice = (
        _read(
            Preparer(Preparation(tiny, TINY_SIDE, ResizeMode.SQUASH, kinds, seed=0, sources={"s": weight})),
            tmp_path / "a.parquet",
            rows=(0, round(32 * weight)),
        )
        for weight in (1.0, 2.0)
    )
    for name in ("image", "tokens"):
        assert (twice[name][0::2] == once[name]).all()
        assert (twice[name][1::2] != once[name]).any()
    assert (twice["clades"][1::2] == once["clades"]).all()


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_a_shard_that_is_lost_under_way_is_named(tiny: MakeTokenizer, tmp_path: Path, harm: str) -> None:
    path = tmp_path / "a.parquet"
    write_shard(path, _rows(6))
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-100])
    preparer = Preparer(Preparation(tiny, TINY_SIDE, ResizeMode.SQUASH, MIXED, seed=0))
    with pytest.raises(TrygonError, match=r"a\.parquet cannot be read .*goes on from its last checkpoint"):
        _read(preparer, path)

"""Shards on disk and on S3: written whole, read by row groups, told apart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from trygon.data.card import count_samples
from trygon.data.row_groups import keep_row_groups, kept_row_groups, list_row_groups
from trygon.data.shards import (
    COUNTS,
    ROW_GROUP_ROWS,
    distinct_taxa,
    identify_shards,
    list_shards,
    open_shard,
    read_samples,
    shard_path,
    write_rows,
    write_shard,
)
from trygon.errors import UserError
from trygon.evaluation.zero_shot import tasks_of
from trygon.schemas import SAMPLE
from trygon.storage import exists, join, read_bytes, write_bytes
from trygon.taxonomy.taxon import RANKS
from trygon.testing.s3 import Fault, FaultyS3, Kind, using
from trygon.testing.shards import write_tiny_shards

pytestmark = pytest.mark.slow


@pytest.fixture(params=["disk", "s3"])
def root(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> Iterator[str]:
    """A folder on disk, and one on S3 whose server throttles, truncates and drops."""
    faults = [Fault(Kind.SLOW_DOWN, 5), Fault(Kind.TRUNCATE, 3), Fault(Kind.DROP_REQUEST, 3)]
    with FaultyS3(server, faults) as faulty, using(faulty.address):
        yield str(tmp_path) if request.param == "disk" else f"s3://shards/{tmp_path.name}"


def _rows(split: str, num: int) -> list[dict[str, Any]]:
    blank = {field.name: "" for field in SAMPLE if str(field.type) == "string"}
    lineage = dict(zip(RANKS, ("Animalia", "Chordata", "Aves", "o", "f", "Genus"), strict=False))
    return [
        blank | lineage | {"species": f"name{index % 5}", "sample_id": index, "image": b"x" * 5_000, "split": split}
        for index in range(num)
    ]


def test_what_was_written_is_read(root: str) -> None:
    for index in range(3):
        write_shard(shard_path(root, "train", index), _rows("train", 100))
    write_shard(shard_path(root, "val", 0), _rows("val", 7))
    write_bytes(join(root, "train-notes.txt"), b"")
    write_bytes(join(root, "parts", "train-00000.parquet"), b"of another job")
    assert list_shards(root, "train") == [join(root, f"train-0000{index}.parquet") for index in range(3)]
    table = read_samples(root, "train", ["sample_id", "image"])
    assert table["sample_id"].to_pylist() == [*range(100)] * 3
    assert set(table["image"].to_pylist()) == {b"x" * 5_000}
    assert "image" not in read_samples(root, "val").column_names
    assert read_samples(root, "unseen").num_rows == 0
    with open_shard(shard_path(root, "train", 1)) as shard:
        assert shard.read_row_group(1)["sample_id"].to_pylist() == [*range(ROW_GROUP_ROWS, 100)]
    groups = list_row_groups(list_shards(root, "train"))
    assert [group.num_rows for group in groups] == [ROW_GROUP_ROWS, 100 - ROW_GROUP_ROWS] * 3
    assert [(task.name, len(task.images), len(task.candidates)) for task in tasks_of(root)] == [("seen", 7, 5)]


def test_shards_are_others_when_their_content_is(root: str) -> None:
    place = shard_path(root, "train", 0)
    write_shard(place, _rows("train", 10))
    before = identify_shards(root, "train")
    write_shard(place, _rows("train", 10))
    assert identify_shards(root, "train") == before
    rows = _rows("train", 10)
    rows[3]["image"] = b"y" * 5_000  # of the same size
    write_shard(place, rows)
    after = identify_shards(root, "train")
    assert list(after) == list(before) == ["train-00000.parquet"]
    assert after != before


def test_a_cut_shard_is_no_shard(root: str) -> None:
    place = shard_path(root, "train", 0)
    write_shard(place, _rows("train", 10))
    write_bytes(place, read_bytes(place)[:-20])
    with pytest.raises(UserError, match=r"train-00000\.parquet is no whole shard"):
        identify_shards(root, "train")
    with pytest.raises(UserError, match=r"train-00000\.parquet cannot be read"):
        list_row_groups([place])


def test_row_groups_are_listed_once(root: str) -> None:
    places = [shard_path(root, "train", index) for index in range(3)]
    for index, place in enumerate(places):
        write_shard(place, _rows("train", 70 + index))
    kept = join(root, "row_groups.parquet")
    keep_row_groups(kept, places)
    assert kept_row_groups(kept, places) == list_row_groups(places)
    moved = [f"elsewhere/{index}" for index in range(3)]
    assert [group.path for group in kept_row_groups(kept, moved)] == [it for it in moved for _ in range(2)]
    write_shard(places[0], _rows("train", 10))
    keep_row_groups(kept, places)
    assert kept_row_groups(kept, places) != list_row_groups(places)
    with pytest.raises(UserError, match="the shards have no 'eol'; they have "):
        keep_row_groups(join(root, "others.parquet"), places, {"eol": 1.0})


def test_a_missing_folder_has_no_shards(root: str) -> None:
    assert list_shards(join(root, "none"), "train") == []
    assert not exists(join(root, "none"))


def test_taxa_of_a_split_are_read_from_the_counts_where_there_are_some(tmp_path: Path) -> None:
    write_tiny_shards(tmp_path, count=4)
    write_tiny_shards(tmp_path, "val", 3)
    from_shards = {split: distinct_taxa(tmp_path, split) for split in ("train", "val")}
    samples = [read_samples(tmp_path, split) for split in from_shards]
    write_rows(tmp_path / COUNTS, count_samples(pa.concat_tables(samples)))
    for path in tmp_path.glob("*-*.parquet"):
        path.unlink()
    for split, wanted in from_shards.items():
        found = distinct_taxa(tmp_path, split)
        assert wanted.num_rows > 1
        assert found.sort_by("species") == wanted.select(found.column_names).sort_by("species")

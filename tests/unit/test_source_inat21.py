"""iNat21 is read in its publisher's forms: its JSON, its archive, its folders."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from trygon.data.sources.catalog import open_source
from trygon.data.sources.inat21 import INat21
from trygon.taxonomy.taxon import RANKS
from trygon.testing.sources import RAVEN, lineage_of, read_all, rows_of, write_files, write_tar

INAT = {"train/00000_" + "_".join(RAVEN) + "/a.jpg": b"A", "train/00000_" + "_".join(RAVEN) + "/b.jpg": b"B"}


def inat_json(names: Iterable[str]) -> dict[str, Any]:
    category = dict(zip((*RANKS[:-1], "specific_epithet"), RAVEN, strict=True))
    images = [
        {"id": place, "width": 5, "height": 5, "file_name": name, "license": 1, "rights_holder": f"holder {place}"}
        for place, name in enumerate(names)
    ]
    return {
        "images": [*images, {"id": 99, "file_name": "train/none/unlabelled.jpg", "license": 1, "rights_holder": "x"}],
        "categories": [{"id": 7, "name": "Corvus corax", "common_name": "Common Raven", **category}],
        "annotations": [{"id": each["id"], "image_id": each["id"], "category_id": 7} for each in images],
        "licenses": [{"id": 1, "name": "CC-BY", "url": "http://example.org/by"}],
    }


def test_inat21_from_its_json(tmp_path: Path) -> None:
    write_files(tmp_path, INAT)
    (tmp_path / "train.json").write_text(json.dumps(inat_json(INAT)))
    source = open_source(f"inat21:{tmp_path}")
    rows = rows_of(source)
    assert read_all(source) == INAT
    assert set(rows) == set(INAT)
    row = rows[min(INAT)]
    assert lineage_of(row) == RAVEN
    assert (row["common"], row["license"], row["rights_holder"]) == ("Common Raven", "CC-BY", "holder 0")


@pytest.mark.parametrize("name", ["train.tar.gz", "train.tar"])
def test_inat21_from_its_archive(tmp_path: Path, name: str) -> None:
    write_tar(tmp_path / name, {f"./{path}": data for path, data in INAT.items()} | {"train/._a.jpg": b"junk"})
    write_tar(tmp_path / "train.json.tar.gz", {"train.json": json.dumps(inat_json(INAT)).encode()})
    source = INat21(str(tmp_path))
    assert [unit.uri for unit in source.units()] == [str(tmp_path / name)]
    assert read_all(source) == INAT
    assert rows_of(source)[min(INAT)]["common"] == "Common Raven"


@pytest.mark.parametrize("packed", [False, True])
def test_inat21_without_json_takes_names_from_folders(tmp_path: Path, packed: bool) -> None:
    contents = INAT | {"train/00001_Animalia_Chordata/c.jpg": b"C"}
    write_tar(tmp_path / "train.tar.gz", contents) if packed else write_files(tmp_path, contents)
    source = INat21(str(tmp_path))
    rows = rows_of(source)
    assert set(rows) == set(INAT)
    assert {lineage_of(row) for row in rows.values()} == {RAVEN}
    assert read_all(source) == contents


def test_inat21_reads_one_split(tmp_path: Path) -> None:
    contents = {name.replace("train/", f"{split}/"): b"x" for name in INAT for split in ("train_mini", "train", "val")}
    write_files(tmp_path, contents)
    assert all(name.startswith("train/") for name in read_all(INat21(str(tmp_path))))
    validation = INat21(str(tmp_path / "val"))
    assert all(name.startswith("val/") for name in read_all(validation))
    assert set(rows_of(validation)) == set(read_all(validation))

"""Features of a frozen trunk, without Ray: each picture's in its row, whoever decodes it, in the run's precision."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from trygon.data.images import preprocess
from trygon.models.model import load_model
from trygon.testing.shards import write_tiny_shards
from trygon.testing.tiny import write_tiny_model
from trygon.training import features
from trygon.training.features import FeatureWriter
from trygon.training.settings import Precision


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One of noise, with a picture that is none."""
    place = write_tiny_shards(tmp_path_factory.mktemp("shards"), count=1) / "train-00000.parquet"
    table = pq.read_table(place)
    images = table["image"].to_pylist()
    images[3] = b"no picture"
    column = table.column_names.index("image")
    pq.write_table(table.set_column(column, "image", pa.array(images, table["image"].type)), place)
    return str(place)


def _written(tiny: Path, shard: str, out: Path, precision: Precision = "fp32") -> pa.Table:
    """What two readers made of a shard."""
    out.mkdir(exist_ok=True)
    FeatureWriter(str(tiny), str(out), "cpu", precision, 2)({"path": np.asarray([shard])})
    return pq.read_table(out / Path(shard).name)


def test_features_of_each_picture_lie_in_its_row(tiny: Path, shard: str, tmp_path: Path) -> None:
    model = load_model(tiny, "cpu")
    net: Any = model.net
    images = pq.read_table(shard)["image"].to_pylist()
    table = _written(tiny, shard, tmp_path)
    assert table["broken"].to_pylist() == [row == 3 for row in range(len(images))]
    for row, data in enumerate(images):
        if row != 3:
            pixels = torch.from_numpy(preprocess(data, model.side, model.resize_mode))[None]
            with torch.no_grad():
                (wanted,) = net.visual(model.normalise(pixels))
            torch.testing.assert_close(torch.tensor(table["feature"][row].as_py()), wanted, atol=1e-5, rtol=1e-5)


def test_pictures_are_decoded_by_all_readers_at_once(
    tiny: Path, shard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2, timeout=60)

    def meet(*given: Any) -> np.ndarray:
        both.wait()
        return preprocess(*given)

    monkeypatch.setattr(features, "preprocess", meet)
    assert _written(tiny, shard, tmp_path)["broken"].to_pylist().count(True) == 1


def test_features_are_computed_in_the_precision_of_the_run(tiny: Path, shard: str, tmp_path: Path) -> None:
    whole, half = (
        np.asarray(_written(tiny, shard, tmp_path / precision, precision)["feature"].to_pylist(), np.float32)
        for precision in ("fp32", "bf16")
    )
    assert not np.array_equal(whole, half)
    np.testing.assert_allclose(half, whole, atol=0.05 * np.abs(whole).max())

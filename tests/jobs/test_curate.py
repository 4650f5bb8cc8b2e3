"""The curate job as a user runs it: shards, resume, another config, bad input."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from trygon.data.shards import list_shards, read_samples
from trygon.errors import UserError
from trygon.schemas import REJECT
from trygon.storage import read_json
from trygon.taxonomy.taxon import RANKS
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.photos import draw_photo, write_photo_folder
from trygon_jobs import curate
from trygon_jobs.curate import CurateConfig

pytestmark = pytest.mark.ray


@pytest.fixture
def config(tmp_path: Path) -> CurateConfig:
    source, backgrounds = tmp_path / "photos", tmp_path / "backgrounds"
    rows = write_photo_folder(source)
    (source / rows[3]["path"]).write_bytes(b"not a picture")
    (source / rows[4]["path"]).write_bytes((source / rows[2]["path"]).read_bytes())
    draw_photo(backgrounds / "ground.jpg", 9, cutout=False, size=(300, 200))
    return CurateConfig(
        out=tmp_path / "shards", source=source, backgrounds=backgrounds, views=6, side=48, shard_rows=40, seed=1
    )


@pytest.mark.usefixtures("local_ray")
def test_shards_hold_out_species_and_continue(config: CurateConfig) -> None:
    curate.main(config)
    train, val, unseen = (read_samples(config.out, split) for split in ("train", "val", "unseen"))
    summary = read_json(config.out / "summary.json")
    assert summary["samples"] == {"train": train.num_rows, "val": val.num_rows, "unseen": unseen.num_rows}
    lineages = {
        name: set(zip(*(table[rank].to_pylist() for rank in RANKS), strict=True))
        for name, table in (("train", train), ("unseen", unseen))
    }
    assert not lineages["train"] & lineages["unseen"]
    assert not set(train["source_id"].to_pylist()) & set(val["source_id"].to_pylist())
    rejects = pq.read_table(config.out / "rejects.parquet")
    assert rejects.schema == REJECT
    assert sorted(rejects["reason"].to_pylist()) == ["duplicate", "not_an_image"]
    assert len(TaxonTree.load(config.out / "taxa.parquet")) == len(lineages["train"] | lineages["unseen"])
    assert len(list_shards(config.out, "train")) > 2

    _check_resume(config)


def _check_resume(config: CurateConfig) -> None:
    """As after a kill: one shard and the summary are missing; only that shard is made again, byte for byte."""
    lost, *kept = list_shards(config.out, "train")
    content, times = lost.read_bytes(), [path.stat().st_mtime_ns for path in kept]
    lost.unlink()
    (config.out / "summary.json").unlink()
    curate.main(config)
    assert lost.read_bytes() == content
    assert [path.stat().st_mtime_ns for path in kept] == times
    before = (config.out / "summary.json").stat().st_mtime_ns
    curate.main(config)
    assert (config.out / "summary.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"another curation \(views: 6, now 7\)"):
        curate.main(config.model_copy(update={"views": 7}))


def test_a_missing_source_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        curate.main(CurateConfig(out=tmp_path / "out", source=tmp_path / "nowhere"))

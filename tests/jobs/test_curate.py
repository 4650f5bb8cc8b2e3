"""The curate job as a user runs it on a folder of photos: shards, resume, another config, bad input."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from trygon.data.shards import list_shards, read_samples
from trygon.data.sources.folder import Folder
from trygon.errors import UserError
from trygon.schemas import COUNT, REJECT, SAMPLE
from trygon.storage import read_json, write_bytes
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
        out=str(tmp_path / "shards"), source=(str(source),), backgrounds=str(backgrounds), views=6, side=48,
        holdout=0.25, stratify=True, shard_rows=40, copy_bits=-1,
    )  # fmt: skip


def _lineages(config: CurateConfig, split: str) -> set[tuple[str, ...]]:
    table = read_samples(config.out, split)
    return set(zip(*(table[rank].to_pylist() for rank in RANKS), strict=True))


@pytest.mark.usefixtures("local_ray")
def test_shards_hold_out_species_and_continue(config: CurateConfig) -> None:
    out = Path(config.out)
    with pytest.raises(UserError, match="no picture is left for training: 1 not_an_image, 1 duplicate"):
        curate.main(config.model_copy(update={"holdout_clade": ("Animalia",)}))
    # What was rendered is not rendered again: this file is not looked at any more.
    Path(config.source[0], "Bufo/quarta-0.jpg").write_bytes(b"changed")
    with pytest.raises(UserError, match=r"another curation \(side: 48, now 32\)"):
        curate.main(config.model_copy(update={"side": 32}))
    curate.main(config)
    train, val, unseen = (read_samples(config.out, split) for split in ("train", "val", "unseen"))
    summary = read_json(out / "summary.json")
    assert summary["samples"] == {"train": train.num_rows, "unseen": unseen.num_rows, "val": val.num_rows}
    assert train.num_rows == 6 * summary["pictures"]["train"]
    assert not _lineages(config, "train") & _lineages(config, "unseen")
    assert not set(train["source_id"].to_pylist()) & set(val["source_id"].to_pylist())
    rejects = pq.read_table(out / "rejects.parquet")
    assert rejects.schema == REJECT
    assert sorted(rejects["reason"].to_pylist()) == ["duplicate", "not_an_image"]
    assert len(TaxonTree.load(out / "taxa.parquet")) == len(_lineages(config, "train") | _lineages(config, "unseen"))
    counts = pq.read_table(out / "counts.parquet")
    assert counts.schema == COUNT
    assert sum(counts["num_samples"].to_pylist()) == sum(summary["samples"].values())
    assert not (out / ".work").exists()
    assert summary["num_species"]["seen"] > 10
    page, card = (out / "index.html").read_text(), (out / "README.md").read_text()
    assert page.count("<figure>") == 48
    assert "| photos |" in card

    _check_shards(out)
    _check_resume(config)


def _check_shards(out: Path) -> None:
    """Each shard holds many species, and row groups are small."""
    shards = [pq.ParquetFile(path) for path in list_shards(str(out), "train")]
    assert len(shards) > 2
    for shard in shards:
        table = shard.read()
        assert table.schema == SAMPLE
        assert len(set(table["source_id"].to_pylist())) > 10
        assert table.num_rows <= 40
        assert table["sample_id"].to_pylist() == sorted(table["sample_id"].to_pylist())


def _check_resume(config: CurateConfig) -> None:
    """As after a kill at its end: one shard and the summary are missing; only that shard is made again, the same."""
    lost, *kept = (Path(path) for path in list_shards(config.out, "train"))
    content, times = lost.read_bytes(), [path.stat().st_mtime_ns for path in kept]
    lost.unlink()
    summary = Path(config.out, "summary.json")
    summary.unlink()
    curate.main(config)
    assert lost.read_bytes() == content
    assert [path.stat().st_mtime_ns for path in kept] == times
    before = summary.stat().st_mtime_ns
    curate.main(config)
    assert summary.stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"another curation \(views: 6, now 7\)"):
        curate.main(config.model_copy(update={"views": 7}))


@pytest.mark.usefixtures("local_ray")
def test_names_that_are_no_utf8_and_what_a_kill_left_end_nothing_and_a_finished_folder_reads_no_source(
    config: CurateConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config.model_copy(update={"views": 1, "backgrounds": None})
    odd, left = Path(config.source[0], os.fsdecode(b"\xe9.jpg")), Path(config.out, ".a.json.x.unfinished")
    draw_photo(odd, 77, cutout=False)
    write_bytes(left, b"half")
    curate.main(config)
    assert not left.exists()
    rejects = {row["source_id"]: row["reason"] for row in pq.read_table(f"{config.out}/rejects.parquet").to_pylist()}
    assert rejects[r"\xe9.jpg"] == "unlabelled"

    def refused(self: Folder) -> None:
        raise AssertionError(f"{self.uri} is read")

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "records", refused)
        curate.main(config)
        assert "(were complete)" in capsys.readouterr().out
        Path(config.source[0], "labels.csv").touch()
        with pytest.raises(AssertionError, match="is read"):
            curate.main(config)
    curate.main(config)
    assert "(were complete)" in capsys.readouterr().out


def test_a_missing_source_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        curate.main(CurateConfig(out=str(tmp_path / "out"), source=(str(tmp_path / "nowhere"),)))


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    for place in ("a", "b"):
        write_photo_folder(tmp_path / place / "photos")
    sources = (str(tmp_path / "a/photos"), str(tmp_path / "b/photos"))
    with pytest.raises(UserError, match="two sources are called photos"):
        curate.main(CurateConfig(out=str(tmp_path / "out"), source=sources))

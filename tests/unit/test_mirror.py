"""Folders on S3 that are used on this machine: fetched once, whole or not at all; made here and brought there."""

import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trygon import mirror, s3
from trygon.archive.inputs.listing import Archive
from trygon.data.images import encode_jpeg
from trygon.data.shards import shard_path, write_shard
from trygon.disk import writing_to
from trygon.errors import TrygonError, UserError
from trygon.labelling.bank import LabelBank
from trygon.lease import Hold
from trygon.mirror import local_folder, made_here
from trygon.models.folder import describe, folder_of, read_config
from trygon.models.model import load_described, load_model, load_tokenizer
from trygon.storage import (
    copy_file,
    exists,
    join,
    list_files,
    open_input,
    read_bytes,
    read_json,
    remove_file,
    write_bytes,
)
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import RANKS, Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.s3 import Fault, FaultyS3, Kind, s3_server, using
from trygon.testing.tiny import write_tiny_model
from trygon_jobs import build_labels, evaluate, label, train

pytestmark = pytest.mark.slow

LION = Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo"), "lion")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server("models") as address:
        yield address


@pytest.fixture(autouse=True)
def cache(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with using(server):
        monkeypatch.setenv("TRYGON_CACHE", str(tmp_path / "cache"))
        yield tmp_path / "cache"


def _bring(folder: Path, place: str) -> str:
    for path in folder.iterdir():
        copy_file(path, join(place, path.name))
    return place


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_is_fetched_once_and_a_changed_one_anew(cache: Path) -> None:
    for name, data in {"a": b"1", "b": b"", ".lock": b"", "checkpoints/c": b"big"}.items():
        write_bytes(join("s3://models/once", name), data)
    first = local_folder("s3://models/once")
    assert _content(first) == {"a": b"1", "b": b""}
    (first / "a").chmod(0o400)
    assert local_folder("s3://models/once") == first
    write_bytes("s3://models/once/a", b"2")
    second = local_folder("s3://models/once")
    assert _content(second) == {"a": b"2", "b": b""}
    assert _content(first) == {"a": b"1", "b": b""}  # whoever reads it reads on
    assert not list((cache / "fetched").glob(".*"))
    assert not local_folder("s3://models/none").exists()


def test_what_lies_beside_a_model_does_not_fetch_it_again(tmp_path: Path) -> None:
    ref = _bring(write_tiny_model(tmp_path / "tiny"), "s3://models/described")
    write_bytes(join(ref, "metrics.jsonl"), b"1")
    first = folder_of(ref)
    for name in ("README.md", "metrics.jsonl"):
        write_bytes(join(ref, name), b"another line")
    assert folder_of(ref) == first
    assert first
    assert _content(first) == _content(tmp_path / "tiny")


def test_what_a_killed_process_left_is_removed_after_a_day(cache: Path) -> None:
    write_bytes("s3://models/left/a", b"1")
    for name in ("old", "young"):
        (cache / f"fetched/.unfinished-{name}/files").mkdir(parents=True)
    os.utime(cache / "fetched/.unfinished-old", (0, 0))
    local_folder("s3://models/left")
    assert [path.name for path in (cache / "fetched").glob(".*")] == [".unfinished-young"]


def test_a_full_disk_of_this_machine_says_which(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_too_much(*_: object) -> io.BufferedReader:
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")
        raise AssertionError("unreachable")

    with (
        pytest.raises(TrygonError, match=f"the disk of {tempfile.gettempdir()} is full; .* set TMPDIR"),
        made_here("s3://models/full", "last", Hold()),
    ):
        write_too_much()
    with pytest.raises(TrygonError, match=r"a disk is full, .* set TMPDIR"), writing_to("s3://models/full"):
        write_too_much()
    write_bytes("s3://models/big/a", b"1")
    monkeypatch.setattr(mirror, "open_input", write_too_much)
    with pytest.raises(TrygonError, match=f"the disk of {cache}/fetched is full; .* set TRYGON_CACHE"):
        local_folder("s3://models/big")


@pytest.mark.parametrize("num_changes", [1, 99])
def test_a_folder_that_changes_while_it_is_read_is_read_again(
    num_changes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"s3://models/moving-{num_changes}"
    versions = iter(range(num_changes))

    def change_and_open(file: str) -> io.BufferedReader:
        if (version := next(versions, None)) is not None:
            write_bytes(join(place, "a"), f"version {version}".encode())
        return open_input(file)

    for name in ("a", "b"):
        write_bytes(join(place, name), b"first")
    monkeypatch.setattr(mirror, "open_input", change_and_open)
    if num_changes == 1:
        assert _content(local_folder(place)) == {"a": b"version 0", "b": b"first"}
        return
    with pytest.raises(TrygonError, match=f"{place} changes while it is read"):
        local_folder(place)


def test_a_model_is_known_by_its_address(server: str, cache: Path, tmp_path: Path) -> None:
    ref = _bring(write_tiny_model(tmp_path / "tiny"), "s3://models/tiny")
    mine, there = load_model(tmp_path / "tiny", "cpu"), load_model(ref, "cpu")
    assert (there.ref, there.digest) == (ref, mine.digest)
    assert (there.encode_texts(["lion"]) == mine.encode_texts(["lion"])).all()
    described = describe(ref)
    assert described.ref == ref
    assert load_described(described, "cpu").digest == described.digest
    assert load_tokenizer(ref)(["lion"]).tolist() == mine.tokenizer(["lion"]).tolist()
    _bring(write_tiny_model(tmp_path / "other", seed=1), "s3://models/tiny")
    assert describe(ref).digest == load_model(tmp_path / "other", "cpu").digest != mine.digest
    with pytest.raises(TrygonError, match=f"--model {ref} was replaced since this run began"):
        load_described(described, "cpu")
    for act in (describe, read_config):
        with pytest.raises(UserError, match=r"--model s3://models/nothing: no such folder"):
            act("s3://models/nothing")


def test_without_keys_what_is_public_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(write_tiny_model(tmp_path / "model"), "cpu")
    LabelBank.build(TaxonTree.from_taxa([LION]), model, TextType.SCI).save(tmp_path / "labels")
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/1.jpg").write_bytes(b"frame")
    client = s3.client(s3.Address("public", ""))
    client.create_bucket(Bucket="public", ACL="public-read")
    for path in (path for path in tmp_path.rglob("*/*") if path.is_file()):
        key = path.relative_to(tmp_path).as_posix()
        client.put_object(Bucket="public", Key=key, Body=path.read_bytes(), ACL="public-read")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    LabelBank.load("s3://public/labels").require_model(describe("s3://public/model"))
    archive = Archive("s3://public/archive")
    assert [archive.read(file.path) for file in archive.files()] == [b"frame"]


def test_a_model_comes_through_faults(server: str, tmp_path: Path) -> None:
    ref = _bring(write_tiny_model(tmp_path / "tiny"), "s3://models/shaken")
    with FaultyS3(server, [Fault(Kind.TRUNCATE, 3), Fault(Kind.SLOW_DOWN, 4)]) as faulty, using(faulty.address):
        found = local_folder(ref)
    assert faulty.met[Kind.TRUNCATE]
    assert _content(found) == _content(tmp_path / "tiny")


def test_labels_are_built_on_s3_go_on_behind_a_crash_and_are_read_there(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ref, out = _bring(write_tiny_model(tmp_path / "tiny"), "s3://models/for-labels"), "s3://models/labels"
    tree = TaxonTree.from_taxa([LION])
    tree.save(tmp_path / "taxa.parquet")
    config = build_labels.BuildLabelsConfig(model=ref, out=out, taxa=str(tmp_path / "taxa.parquet"), limit=None)
    # What a run leaves that is killed before the end, made recognisable.
    LabelBank.build(tree, load_model(ref, "cpu"), config.text_type, scratch=join(out, ".chunks"))
    (chunk,) = list_files(join(out, ".chunks"))
    marked = io.BytesIO()
    np.save(marked, np.full((1, 16), 0.25, np.float32))
    write_bytes(chunk, marked.getvalue())
    with pytest.raises(UserError, match=r"s3://models/labels is not a finished LabelBank"):
        LabelBank.load(out)

    build_labels.main(config)
    bank = LabelBank.load(out)
    assert (bank.vector_ND == 0.25).all()
    assert bank.model == ref
    bank.require_model(describe(ref))
    assert not exists(join(out, ".chunks"))
    capsys.readouterr()
    before = set((cache / "fetched").iterdir())
    build_labels.main(config)
    assert "1 taxa stand in s3://models/labels already" in capsys.readouterr().out
    assert set((cache / "fetched").iterdir()) == before


def _row(split: str) -> dict[str, Any]:
    row = {"sample_id": 1, "image": encode_jpeg(Image.new("RGB", (40, 40))), "split": split, "source": "t"}
    return row | {"source_id": "1", "common": LION.common, **dict(zip(RANKS, LION.lineage, strict=True))}


def test_what_must_lie_on_this_machine_is_told_so_before_any_work(tmp_path: Path) -> None:
    write_shard(shard_path("s3://models/few", "train", 0), [_row("train")])
    initial = train.InitialConfig(architecture="starter", image_weights="s3://models/trunk.pth")
    with pytest.raises(UserError, match=r"^s3://models/trunk.pth is a URL; .* copy it here$"):
        train.main(train.TrainConfig(shards="s3://models/few", out=str(tmp_path / "out"), initial=initial))
    model = write_tiny_model(tmp_path / "tiny")
    LabelBank.build(TaxonTree.from_taxa([LION]), load_model(model, "cpu"), TextType.SCI).save(tmp_path / "labels")
    folders = {"archive": str(tmp_path), "model": str(model), "labels": str(tmp_path / "labels")}
    config = label.LabelConfig(**folders, out=str(tmp_path / "out"), detector="s3://models/detector")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"--detector s3://models/detector: .* mount the storage"):
        label.main(config)
    assert not (tmp_path / "out").exists()


def test_an_evaluation_on_s3_is_whole_and_rests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ref, shards = _bring(write_tiny_model(tmp_path / "tiny"), "s3://models/evaluated"), "s3://models/shards"
    write_shard(shard_path(shards, "unseen", 0), [_row("unseen")])
    config = evaluate.EvaluateConfig(model=ref, shards=shards, out="s3://models/evaluation")
    evaluate.main(config)
    names = ["evaluation.json", "index.html", "metrics.json"]
    assert list_files(config.out) == [join(config.out, name) for name in names]
    assert read_json(join(config.out, "metrics.json"))["zero_shot/unseen/taxon/species/n"] == 1
    capsys.readouterr()
    evaluate.main(config)
    assert "s3://models/evaluation/index.html (was complete)" in capsys.readouterr().out
    _bring(write_tiny_model(tmp_path / "other", seed=1), ref)
    evaluate.main(config)
    assert "was complete" not in capsys.readouterr().out


@pytest.mark.parametrize("remote", [False, True])
def test_what_is_made_here_is_there_with_its_last_file_last(remote: bool, tmp_path: Path) -> None:
    place = "s3://models/made" if remote else str(tmp_path / "made")
    with made_here(place, "card.json", Hold()) as folder:
        (folder / "card.json").write_text("1")
        (folder / "deep").mkdir()
        (folder / "deep" / "a").write_text("1")
    assert [read_bytes(join(place, name)) for name in ("card.json", "deep/a")] == [b"1", b"1"]
    with pytest.raises(ZeroDivisionError), made_here(place, "card.json", Hold()) as folder:
        (folder / "a").write_text(str(1 / 0))
    if not remote:
        return
    assert list_files(place) == [join(place, "card.json"), join(place, "deep/a")]  # as it was
    with pytest.raises(FileNotFoundError), made_here(place, "card.json", Hold()) as folder:
        (folder / "a").write_text("2")  # and no card: as if the copying ended before it
    assert list_files(place) == [join(place, "a"), join(place, "deep/a")]  # nobody takes it for whole


def test_who_lost_the_folder_writes_no_more() -> None:
    class Lost(Hold):
        def check(self) -> None:
            raise TrygonError("another one has taken its place")

    with pytest.raises(TrygonError), made_here("s3://models/lost", "last", Lost()) as folder:
        (folder / "last").write_text("")
    assert list_files("s3://models/lost") == []


def test_removing_a_file_leaves_the_others(tmp_path: Path) -> None:
    for root in ("s3://models/removed", str(tmp_path)):
        for name in ("a", "a/b", "ab") if root.startswith("s3") else ("a", "ab"):
            write_bytes(join(root, name), b"")
        remove_file(join(root, "a"))
        remove_file(join(root, "a"))
        assert not exists(join(root, "a")) or list_files(join(root, "a")) == [join(root, "a/b")]
        assert exists(join(root, "ab"))

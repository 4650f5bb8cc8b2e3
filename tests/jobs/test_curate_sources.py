"""Curation of iNat21, BIOSCAN-1M and EOL as they are published, held to what the synthetic tree of life knows."""

import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trygon.data.shards import read_samples
from trygon.schemas import SAMPLE
from trygon.storage import list_files, read_bytes, read_json
from trygon.taxonomy.taxon import RANKS
from trygon.testing.s3 import BREAKS, Fault, FaultyS3, s3_server, using
from trygon_jobs import curate, synthesize
from trygon_jobs.curate import CurateConfig
from trygon_jobs.synthesize import SynthesizeConfig

pytestmark = [pytest.mark.slow, pytest.mark.ray]

KINDS = ("inat21", "bioscan", "eol")
SPLITS = ("train", "val", "unseen")
REASONS = {"truncated": "truncated", "tiny": "too_small", "not_an_image": "not_an_image", "no_page": "no_name"}
Key = tuple[str, str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    """Sources with all kinds of dirt, and a truth.parquet that tells what is wrong with which picture."""
    out = tmp_path_factory.mktemp("world") / "sources"
    synthesize.main(SynthesizeConfig(out=str(out), images=900, species=60, part_images=150, seed=4))
    return out


@pytest.fixture(scope="module")
def shards(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's sources, curated."""
    out = tmp_path_factory.mktemp("curated") / "shards"
    curate.main(CurateConfig(out=str(out), **_settings(world)))
    return out


def _settings(world: Path) -> dict[str, Any]:
    return {
        "source": tuple(f"{kind}:{world / kind}" for kind in KINDS),
        "exclude": (f"rarespecies:{world / 'rarespecies'}",),
        "side": 64,
        "holdout": 0.15,
        "holdout_rank": "genus",
        "webdataset": True,
        "shard_rows": 100,
        "subset": 50,
    }


def _samples(out: str | Path) -> pa.Table:
    return pa.concat_tables([read_samples(str(out), split, SAMPLE.names) for split in SPLITS])


def _keys(table: pa.Table) -> list[Key]:
    return list(zip(table["source"].to_pylist(), table["source_id"].to_pylist(), strict=True))


def _truth(world: Path) -> dict[Key, dict[str, Any]]:
    return {(row["source"], row["source_id"]): row for row in pq.read_table(world / "truth.parquet").to_pylist()}


def _reasons(shards: Path) -> dict[Key, str]:
    rejects = pq.read_table(shards / "rejects.parquet")
    return dict(zip(_keys(rejects), rejects["reason"].to_pylist(), strict=True))


def test_every_picture_is_a_sample_or_has_a_reason(world: Path, shards: Path) -> None:
    samples, reasons = _keys(_samples(shards)), _reasons(shards)
    assert len(samples) == len(set(samples))
    assert not set(samples) & set(reasons)
    assert set(samples) | set(reasons) == set(_truth(world))
    summary = read_json(shards / "summary.json")
    assert sum(summary["rejects"].values()) == len(reasons)
    assert sum(summary["samples"][split] for split in SPLITS) == len(samples)


def test_names_with_authors_markup_and_aliases_come_out_clean(world: Path, shards: Path) -> None:
    truth, samples = _truth(world), _samples(shards)
    lineages = zip(*(samples[rank].to_pylist() for rank in RANKS), strict=True)
    wrong = {
        key: (lineage, [truth[key][rank] for rank in RANKS])
        for key, lineage in zip(_keys(samples), lineages, strict=True)
        if list(lineage) != [truth[key][rank] for rank in RANKS]
    }
    assert not wrong
    assert any(truth[key]["spelling"] for key in _keys(samples))


def test_dirt_is_found_and_called_by_its_name(world: Path, shards: Path) -> None:
    truth, reasons = _truth(world), _reasons(shards)
    found = {dirt: {reasons.get(key, "") for key, row in truth.items() if row["dirt"] == dirt} for dirt in REASONS}
    assert found == {dirt: {reason} for dirt, reason in REASONS.items()}


def test_no_picture_stands_beside_a_copy_of_it(world: Path, shards: Path) -> None:
    truth, kept = _truth(world), set(_keys(_samples(shards)))
    copies = {key: (row["copy_source"], row["copy_of"]) for key, row in truth.items() if row["copy_of"]}
    assert len(copies) > 5
    assert not [key for key, original in copies.items() if key in kept and original in kept]
    # Pictures that are no copies are not taken for such.
    originals = set(copies.values())
    named_copies = [key for key, reason in _reasons(shards).items() if "duplicate" in reason]
    assert set(named_copies) <= set(copies) | originals


def test_the_benchmark_is_nowhere_in_the_shards(world: Path, shards: Path) -> None:
    truth, reasons = _truth(world), _reasons(shards)
    rare = {(row["genus"], row["species"]) for key, row in truth.items() if key[0] == "rarespecies"}
    samples = _samples(shards)
    assert not rare & set(zip(samples["genus"].to_pylist(), samples["species"].to_pylist(), strict=True))
    of_rare = [key for key, row in truth.items() if (row["genus"], row["species"]) in rare and key[0] != "rarespecies"]
    assert "benchmark_species" in {reasons[key] for key in of_rare}
    copies = {reasons[key] for key, row in truth.items() if row["dirt"] == "benchmark_copy"}
    assert copies <= {"duplicate", "near_duplicate", "benchmark_species"}


def test_held_out_genera_are_unseen_and_nowhere_else(shards: Path) -> None:
    genera = {
        split: set(zip(*(read_samples(str(shards), split)[rank].to_pylist() for rank in RANKS[:6]), strict=True))
        for split in SPLITS
    }
    assert genera["unseen"]
    assert not genera["unseen"] & (genera["train"] | genera["val"])


def test_each_shard_holds_many_classes(shards: Path) -> None:
    """Upstream's shards hold one class after the other, and only a buffer of 5,000 mixes them."""
    paths = [path for path in list_files(shards, ".parquet") if "/train-" in path]
    assert len(paths) > 3
    for path in paths:
        table = pq.read_table(path, columns=["source", "family"])
        assert len(set(table["family"].to_pylist())) > 8
        assert len(set(table["source"].to_pylist())) == 3


def test_webdataset_form_holds_the_same_samples(shards: Path) -> None:
    for split in (*SPLITS, "train_small"):
        samples = read_samples(str(shards), split, ["sample_id", "image"])
        pictures = {}
        for path in list_files(shards / "webdataset" / split, ".tar"):
            with tarfile.open(path) as tar:
                names = [name.split(".", 1) for name in tar.getnames()]
                for member in tar:
                    if member.name.endswith(".jpg"):
                        file = tar.extractfile(member)
                        assert file
                        pictures[int(member.name.split(".")[0], 16)] = file.read()
            assert len({extension for _, extension in names}) >= 11
        assert pictures == dict(zip(samples["sample_id"].to_pylist(), samples["image"].to_pylist(), strict=True))


def test_the_subset_repeats_training_samples(shards: Path) -> None:
    small, train = (read_samples(str(shards), split)["sample_id"].to_pylist() for split in ("train_small", "train"))
    assert len(small) == 50
    assert set(small) < set(train)


def _words(world: Path, out: str) -> list[str]:
    flags = {"side": "64", "holdout": "0.15", "holdout-rank": "genus", "shard-rows": "100", "subset": "50"}
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    sources = [word for kind in KINDS for word in ("--source", f"{kind}:{world / kind}")]
    exclude = ["--exclude", f"rarespecies:{world / 'rarespecies'}", "--webdataset"]
    return [sys.executable, "-m", "trygon_jobs", "curate", out, *sources, *exclude, *words]


def test_on_a_store_with_faults_a_killed_run_goes_on_and_gives_the_same(world: Path, shards: Path) -> None:
    faults = [Fault(kind, every=41 + 6 * number) for number, kind in enumerate(BREAKS)]
    with s3_server("bucket") as address, FaultyS3(address, faults) as faulty, using(faulty.address):
        out = "s3://bucket/tree/shards"
        command = _words(world, out)
        first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        _wait_for_parts(first, out, 3)
        second = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert second.returncode == 2
        assert "another process is writing to s3://bucket/tree/shards" in second.stderr
        _kill(first)
        assert not [path for path in list_files(out) if path.endswith("summary.json")]
        last = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
        assert last.returncode == 0, last.stderr
        assert set(faulty.met) == set(BREAKS)
        assert _samples(out).equals(_samples(shards))
        theirs, ours = ({path.split("/shards/")[1] for path in list_files(root)} for root in (out, shards))
        assert theirs == ours
        tars = list_files(out, ".tar")
        assert [read_bytes(path) for path in tars] == [read_bytes(path) for path in list_files(shards, ".tar")]


def _wait_for_parts(process: subprocess.Popen[str], out: str, number: int) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr and process.stderr.read()
        if len(list_files(f"{out}/.work/parts", ".parquet")) >= number:
            return
        time.sleep(0.3)
    raise AssertionError("no parts were written")


def _kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL the command and what it started: nothing is tidied up."""
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    for member in family:
        if member.is_running():
            member.kill()
    process.wait()

"""What all configs refuse."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from trygon.errors import UserError
from trygon_jobs.config import JobConfig, Place, Ref
from trygon_jobs.curate import CurateConfig
from trygon_jobs.sample import SampleConfig
from trygon_jobs.serve import named
from trygon_jobs.train import TrainConfig, gets_gpus


class _Config(JobConfig):
    folder: Path
    other: Path | None = None
    source: Ref = ""
    out: Place = "."
    shards: Place | None = None
    sources: tuple[Place, ...] = ()


@pytest.mark.parametrize("value", ["s3://bucket/x", Path("s3://bucket/x"), "gs://b", "file:///x"])
def test_a_url_is_no_path(value: str | Path) -> None:
    with pytest.raises(ValidationError, match="folder is a path on this machine, not a URL"):
        _Config(folder=value)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValidationError, match="other is a path"):
        _Config(folder=Path("x"), other=value)  # pyright: ignore[reportArgumentType]


def test_paths_and_other_texts_are_left_alone() -> None:
    config = _Config(folder=Path("a:b/c"), other=Path("/x/s3:/y"), source="s3://bucket/x")
    assert config.folder == Path("a:b/c")
    assert config.source == "s3://bucket/x"


def test_a_place_is_a_path_or_an_address_in_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    config = _Config(folder=Path("x"), out="s3://bucket/x", shards="a/b", sources=("s3://b/c?scheme=http", "d"))
    assert (config.out, config.shards) == ("s3://bucket/x", "a/b")
    assert _Config.model_validate({"folder": "x", "out": Path("/a")}).out == "/a"


def test_the_users_home_stands_for_a_tilde_where_no_shell_has_seen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = _Config(folder=Path("~/a"), other=Path("b/~"), out="~/c", shards="d/~", source="~/e", sources=("~/f",))
    assert (config.folder, config.other) == (Path("/home/me/a"), Path("b/~"))
    assert (config.out, config.shards, config.source) == ("/home/me/c", "d/~", "/home/me/e")
    assert config.sources == ("/home/me/f",)
    assert named("model", ["birds=~/m"]) == {"birds": "/home/me/m"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("gs://b", "mount the storage"),
        ("s3:/b/c", "write s3://bucket/key"),
        ("s3://", "write"),
        ("s3://k:s@b/c", "set"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused_with_its_fields_name(value: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s)out.*{reason}"):
        _Config(folder=Path("x"), out=value)
    with pytest.raises(ValidationError, match=f"(?s)shards.*{reason}"):
        _Config(folder=Path("x"), shards=value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"batch_size": 30, "workers": 32, "min_workers": 8}, r"at least the number of workers \(32\)"),
        ({"batch_size": 100, "replay_batch_size": 2, "workers": 3}, r"at least the number of workers \(3\)"),
        ({"batch_size": 100, "workers": 2, "min_workers": 4}, r"min_workers \(4\) is above workers"),
        ({"sources": {"eol": 0}}, "greater than 0"),
        ({"feature_dropout": 0.1}, "goes with freeze_image_trunk"),
    ],
)
def test_training_that_cannot_fit_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainConfig(shards="a", out="b", **values)


def _gets_gpus(num_gpus: int, **values: Any) -> bool:
    return gets_gpus(TrainConfig(shards="a", out="b", workers=4, **values), num_gpus, Console(quiet=True))


def test_training_that_is_meant_for_gpus_does_not_go_to_cpus_beside_too_few() -> None:
    assert _gets_gpus(4, precision="bf16")
    assert _gets_gpus(2, precision="bf16", min_workers=2)
    for values in ({"precision": "bf16"}, {"use_gpu": True}):
        with pytest.raises(UserError, match="4 workers need as many GPUs, and there are 2: give --workers 2, or"):
            _gets_gpus(2, **values)
    with pytest.raises(UserError, match=r"give --min-workers 1, or .* or --use-gpu on a cluster that starts more"):
        _gets_gpus(1, precision="bf16", min_workers=2)
    with pytest.raises(UserError, match="there are 0: give --no-use-gpu"):
        _gets_gpus(0, use_gpu=True)
    assert not _gets_gpus(2, precision="bf16", use_gpu=False)
    assert not _gets_gpus(2)  # as the starter, which is made for CPUs
    assert not _gets_gpus(0, precision="bf16")


@pytest.mark.parametrize(
    ("config", "given"),
    [(TrainConfig, {"shards": "a", "out": "b"}), (CurateConfig, {"out": "a"}), (SampleConfig, {})],
)
def test_a_seed_below_zero_is_refused(config: type[JobConfig], given: dict[str, Any]) -> None:
    """Before it fails where numbers are drawn: in each worker, again and again."""
    config.model_validate(given | {"seed": 0})
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        config.model_validate(given | {"seed": -1})

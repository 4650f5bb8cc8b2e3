"""What all configs refuse."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from trygon_jobs.config import JobConfig


class _Config(JobConfig):
    folder: Path
    other: Path | None = None
    source: str = ""


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

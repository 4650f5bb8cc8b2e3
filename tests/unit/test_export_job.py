"""`trygon export`: where it writes, where it does not, and how it goes on."""

from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from trygon.archive.exports import EXPORTS
from trygon.errors import UserError
from trygon.schemas import DEPLOYMENT
from trygon.storage import write_json
from trygon.tables import write_table
from trygon.testing.shots import Shot, write_run
from trygon_jobs.export import ExportConfig, main

NOON = datetime(2024, 5, 31, 12)


def test_command_names_every_format() -> None:
    assert set(get_args(ExportConfig.model_fields["format"].annotation)) == set(EXPORTS)


def test_export_keeps_out_of_folders_that_hold_something_else(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [Shot("a/1.jpg", NOON)])
    write_run(tmp_path / "other", [Shot("a/1.jpg", NOON)])
    given: dict[str, Any] = {"run": str(tmp_path / "run"), "time_zone": "+00:00"}
    write_table(tmp_path / "run/deployments.parquet", DEPLOYMENT.empty_table())
    for _ in range(2):
        main(ExportConfig(**given, out=str(tmp_path / "out"), format="timelapse"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="out holds an export as timelapse: give another --out, or remove it"):
        main(ExportConfig(**given, out=str(tmp_path / "out"), format="csv"))
    with pytest.raises(UserError, match="other holds files that no export wrote: give another --out"):
        main(ExportConfig(**given, out=str(tmp_path / "other"), format="csv"))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_export_replaces_no_file_of_a_user(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [Shot("a/1.jpg", NOON)])
    write_table(tmp_path / "run/deployments.parquet", DEPLOYMENT.empty_table())
    own = tmp_path / "mine/deployments.csv"
    own.parent.mkdir()
    own.write_text("deployment,latitude,longitude\na,1,2\n")
    words: dict[str, Any] = {"run": str(run.folder), "time_zone": "+00:00", "deployments": own}
    with pytest.raises(UserError, match="mine holds files that no export wrote: give another --out"):
        main(ExportConfig(**words, out=str(own.parent)))
    assert own.read_text().startswith("deployment,latitude")

    package = tmp_path / "package"
    main(ExportConfig(**words, out=str(package)))
    write_json(tmp_path / "run/config.json", run.config | {"archive": str(package), "images": str(tmp_path)})
    with pytest.raises(UserError, match="package is the archive, whose files it would replace"):
        main(ExportConfig(**words, out=str(package)))


def test_export_that_was_stopped_goes_on(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [Shot("a/1.jpg", NOON)])
    write_table(tmp_path / "run/deployments.parquet", DEPLOYMENT.empty_table())
    words: dict[str, Any] = {"run": str(run.folder), "out": str(tmp_path / "out"), "format": "csv"}
    events = tmp_path / "run/events.parquet"
    content = events.read_bytes()
    events.write_bytes(content[:-9])
    with pytest.raises(UserError, match=r"events\.parquet"):
        main(ExportConfig(**words))
    events.write_bytes(content)
    with pytest.raises(UserError, match="out holds an export as csv"):
        main(ExportConfig.model_validate(words | {"format": "coco"}))
    main(ExportConfig(**words))
    assert (tmp_path / "out/events.csv").is_file()

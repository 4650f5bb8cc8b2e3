"""The synthesize job as a user runs it: what it makes, resume, another config, object storage."""

from pathlib import Path

import pytest

from trygon.data.sources.catalog import open_source
from trygon.errors import UserError
from trygon.storage import list_files, read_bytes, read_json
from trygon.testing.commands import told, trygon
from trygon.testing.s3 import s3_server, using
from trygon_jobs import synthesize
from trygon_jobs.synthesize import SynthesizeConfig

pytestmark = pytest.mark.ray


@pytest.mark.usefixtures("local_ray")
def test_a_world_is_made_once_and_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = SynthesizeConfig(out=str(tmp_path / "world"), images=300, species=40, part_images=60, seed=2)
    out = Path(config.out)
    synthesize.main(config)
    assert "300 pictures of 40 species" in capsys.readouterr().out
    found = sum(open_source(f"{kind}:{out / kind}").records().num_rows for kind in config.sources)
    assert found == sum(read_json(out / "truth.json")["pictures"].values()) == 300

    # As after a kill: the marks of two parts are missing, and what one of them made.
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    times = {path: path.stat().st_mtime_ns for path in files}
    lost, again = out / "eol/image_set_02.tar.gz", out / "inat21/train.json"
    lost.unlink()
    (out / "parts/eol-pictures-00002.json").unlink()
    (out / "parts/inat21-tables-00001.json").unlink()
    synthesize.main(config)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == files
    changed = {path for path in files if path.stat().st_mtime_ns != times[path]}
    assert {lost, again} <= changed
    assert not any(path.suffix in (".gz", ".jpg") for path in changed - {lost})

    capsys.readouterr()
    synthesize.main(config)
    assert "was complete" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"another synthetic tree of life \(seed: 2, now 3\)"):
        synthesize.main(config.model_copy(update={"seed": 3}))


def test_what_is_the_users_own_is_not_replaced(tmp_path: Path) -> None:
    labels = tmp_path / "photos/labels.csv"
    labels.parent.mkdir()
    labels.write_text("path,species\n")
    with pytest.raises(UserError, match="holds files of something else"):
        synthesize.main(SynthesizeConfig(out=str(tmp_path), images=100, species=30))
    assert labels.read_text() == "path,species\n"


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_object_storage_gets_the_same_bytes_as_a_folder(tmp_path: Path) -> None:
    """That there in a process of its own: the workers of the shared Ray do not know the server."""
    words = ["--images", "120", "--species", "30", "--part-images", "40", "--sources", "eol", "folder"]
    with s3_server("bucket") as address, using(address):
        for run, out in ((trygon, "s3://bucket/world"), (told, str(tmp_path / "world"))):
            made = run("synthesize", out, *words, cwd=tmp_path)
            assert made.returncode == 0, made.stderr
        remote, local = (
            {place.split("/world/")[1]: read_bytes(place) for place in list_files(root)}
            for root in ("s3://bucket/world", tmp_path / "world")
        )
    assert len(local) > 10
    assert {name for name in remote if remote[name] != local.get(name)} <= {"config.json"}  # it names its place
    assert set(remote) == set(local)

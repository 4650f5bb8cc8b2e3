"""Where apt is missing, drawn organisms stand in for the sample photos; where it comes, the photos come."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trygon.data.packages import GCOMPRIS, MATE_BACKGROUNDS, PLASMA_WALLPAPERS, TUXPAINT
from trygon.data.sample.build import _parts, _parts_of_debian, build_sample, drawn_parts
from trygon.data.sample.drawn import drawn_beasts, is_drawn, write_drawn_backgrounds, write_drawn_photos
from trygon.data.sample.photos import table
from trygon.errors import UserError
from trygon.storage import read_json, write_bytes, write_json
from trygon.taxonomy.names import clean_lineage
from trygon.taxonomy.taxon import RANKS

pytestmark = pytest.mark.slow

BOTH = ("photos", "backgrounds")


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all of PATH; and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("TRYGON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {})
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn photos, for tests that only look at them."""
    folder = tmp_path_factory.mktemp("photos")
    write_drawn_photos(folder, {})
    return folder


def _add(tools: Path, *names: str) -> None:
    for name in names:
        (tools / name).write_text("#!/bin/sh\necho 'E: no network' >&2\nexit 100\n")
        (tools / name).chmod(0o755)


def _finish_what_pip_brings(out: Path) -> None:
    for part in _parts(out):
        if part.name not in BOTH:
            write_json(out / part.name / "part.json", {"digest": part.digest})


def _labels(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "labels.csv").read_text("utf-8").splitlines()))


def test_without_the_tools_both_parts_are_drawn(tools: Path, tmp_path: Path) -> None:
    assert drawn_parts(tmp_path) == dict.fromkeys(BOTH, "apt-get")
    _add(tools, "apt-get")
    assert drawn_parts(tmp_path) == dict.fromkeys(BOTH, "dpkg-deb")
    _add(tools, "dpkg-deb")
    assert drawn_parts(tmp_path) == {}


def test_packages_at_hand_need_only_be_read(tools: Path, tmp_path: Path) -> None:
    for package in (GCOMPRIS, TUXPAINT):
        write_bytes(tmp_path / "cache/downloads" / package.file, b"")
    assert drawn_parts(tmp_path) == {"photos": "dpkg-deb", "backgrounds": "apt-get"}
    _add(tools, "dpkg-deb")
    assert drawn_parts(tmp_path) == {"backgrounds": "apt-get"}
    for package in (MATE_BACKGROUNDS, PLASMA_WALLPAPERS):
        write_bytes(tmp_path / "cache/downloads" / package.file, b"")
    assert drawn_parts(tmp_path) == {}


def test_apt_of_another_release_has_other_versions(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add(tools, "apt-get", "dpkg-deb")
    for names, drawn in (
        ({"VERSION_CODENAME": "noble"}, dict.fromkeys(BOTH, "Debian 12's apt")),
        ({"VERSION_CODENAME": "faye", "DEBIAN_CODENAME": "bookworm"}, {}),
        ({}, {}),
    ):
        monkeypatch.setattr("platform.freedesktop_os_release", lambda names=names: names)
        assert drawn_parts(tmp_path) == drawn
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"VERSION_CODENAME": "noble"})
    for package in (GCOMPRIS, TUXPAINT, MATE_BACKGROUNDS, PLASMA_WALLPAPERS):
        write_bytes(tmp_path / "cache/downloads" / package.file, b"")
    assert drawn_parts(tmp_path) == {}


def test_photos_that_are_there_are_kept_without_apt(tools: Path, tmp_path: Path) -> None:
    assert not list(tools.iterdir())
    for part in _parts_of_debian():
        write_json(tmp_path / part.name / "part.json", {"digest": part.digest})
    assert drawn_parts(tmp_path) == {}


def test_a_folder_with_stand_ins_is_complete_without_apt_and_made_anew_with_it(
    tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sample"
    _finish_what_pip_brings(out)
    assert build_sample(out)
    assert capsys.readouterr().err.startswith("unpack photos\nunpack backgrounds\n")  # no terminal shows the bar
    assert all(is_drawn(row["path"]) for name in BOTH for row in _labels(out / name))
    assert read_json(out / "photos/part.json")["drawn"].startswith("drawn 1: ")
    assert not build_sample(out)

    _add(tools, "apt-get", "dpkg-deb")
    with pytest.raises(UserError, match=f"apt could not download {GCOMPRIS.name}=.*E: no network"):
        build_sample(out)
    assert (out / "photos/labels.csv").is_file()  # what stands is not lost before there is something better


@pytest.mark.parametrize("name", ["photos/holiday.jpg", "config.json"])
def test_what_is_the_users_own_is_not_replaced(tools: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "mine"
    write_bytes(out / name, b"mine")
    with pytest.raises(UserError, match=f"--out .*/mine holds {name.removesuffix('holiday.jpg')} of something else"):
        build_sample(out)
    assert (out / name).read_bytes() == b"mine"
    assert [path.name for path in out.iterdir()] == [name.split("/")[0]]


def test_drawn_photos_have_the_form_of_the_photos(photos: Path) -> None:
    rows = _labels(photos)
    assert set(table("labels")[0]) < set(rows[0])
    assert {row["path"] for row in rows} == {
        path.relative_to(photos).as_posix() for path in photos.rglob("*") if path.suffix in (".png", ".jpg")
    }
    credits = (photos / "ATTRIBUTION.md").read_text()
    assert "They are no photos" in credits
    for row in rows:
        lineage = tuple(row[rank] for rank in RANKS)
        assert clean_lineage(lineage) == lineage
        assert f"| {row['path']} |" in credits
    real = {(row["genus"], row["species"]) for row in table("labels")}
    assert not real & {(row["genus"], row["species"]) for row in rows}


def test_cutouts_are_whole_and_enough_of_them_stand_on_legs(photos: Path) -> None:
    cutouts = [row for row in _labels(photos) if row["kind"] == "cutout"]
    for row in cutouts:
        alpha_HW = np.asarray(Image.open(photos / row["path"]).getchannel("A"))
        border_N = np.concatenate([alpha_HW[0], alpha_HW[-1], alpha_HW[:, 0], alpha_HW[:, -1]])
        assert not border_N.any(), row["path"]
        assert alpha_HW.any()
    beasts = drawn_beasts(row["path"] for row in cutouts)
    assert len({row["family"] for row in cutouts if row["path"] in beasts}) >= 3
    assert len(beasts) >= 17


def test_drawn_backgrounds_have_the_settings_of_the_real_ones(tmp_path: Path) -> None:
    write_drawn_backgrounds(tmp_path, {})
    rows = _labels(tmp_path)
    assert {row["setting"] for row in rows} == {row["setting"] for row in table("backgrounds")}
    assert len({(tmp_path / row["path"]).read_bytes() for row in rows}) == len(rows)

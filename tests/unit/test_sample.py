"""The tables that ship with trygon, credits, and fetching: what is there is used, what is wrong is refused."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from trygon.data import packages
from trygon.data.packages import GCOMPRIS, PACKAGES, TUXPAINT, fetch
from trygon.data.sample.photos import table
from trygon.data.sample.pictures import packages_of, parse_credits
from trygon.errors import UserError
from trygon.taxonomy.names import clean_lineage
from trygon.taxonomy.taxon import RANKS, Rank, Taxon

README = """Copyright: © 2014 Jee & Rani
Source: https://example.org/a.jpg
License: CC-BY-SA-4.0
Comments: cropping
Files: a.webp

Copyright: Sergio
Files:
b.webp
c/d.webp
License: Public domain
"""


def test_labels_are_clean_lineages_with_one_common_name_each() -> None:
    rows = table("labels")
    assert len(rows) == 280
    assert len({row["path"] for row in rows}) == len(rows)
    common: dict[tuple[str, ...], str] = {}
    for row in rows:
        lineage = tuple(row[rank] for rank in RANKS)
        assert clean_lineage(lineage) == lineage
        assert RANKS[Taxon.from_row(row).rank or Rank.KINGDOM] == row["rank"]
        assert common.setdefault(lineage, row["common"]) == row["common"]
    assert sum(row["rank"] == "species" for row in rows) > 200


def test_every_picture_has_a_package() -> None:
    assert packages_of(row["path"] for row in table("labels")) == [GCOMPRIS, TUXPAINT]
    assert {row["setting"] for row in table("backgrounds")} == {"landscape", "close", "water"}


def test_credits_of_blocks_in_any_order() -> None:
    found = parse_credits(README)
    assert (found["a.webp"].author, found["a.webp"].license) == ("2014 Jee & Rani", "CC-BY-SA-4.0")
    assert set(found) == {"a.webp", "b.webp", "c/d.webp"}
    assert (found["c/d.webp"].author, found["c/d.webp"].license) == ("Sergio", "Public domain")


def test_packages_are_pinned() -> None:
    assert all(len(package.sha256) == 64 and package.version for package in PACKAGES)
    assert len({package.file for package in PACKAGES}) == len(PACKAGES)


def test_a_file_put_there_by_hand_is_used(tmp_path: Path) -> None:
    package = replace(TUXPAINT, sha256=hashlib.sha256(b"the package").hexdigest())
    (tmp_path / package.file).write_bytes(b"the package")
    assert fetch(package, tmp_path) == tmp_path / package.file


def test_without_apt_one_line_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"apt-get is missing, and tuxpaint-stamps-default") as caught:
        fetch(TUXPAINT, tmp_path / "downloads")
    assert "\n" not in str(caught.value)


def test_without_a_network_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An index where nothing listens, and none of the places where pip might find the file on this machine.
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    package = replace(packages.BIRD_NAMES, sha256="0" * 64)
    with pytest.raises(UserError, match="birdnames==") as caught:
        fetch(package, tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert not list(tmp_path.iterdir())

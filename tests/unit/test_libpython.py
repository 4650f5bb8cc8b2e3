"""Where Debian's package of libpython cannot be fetched, one line says what to install instead."""

from pathlib import Path

import pytest

from trygon.errors import UserError
from trygon_serving.libpython import fetch


def test_without_apt_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"libpython3\.\d+\.so.*--triton HOST:PORT") as caught:
        fetch(tmp_path / "libpython")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "libpython").exists()

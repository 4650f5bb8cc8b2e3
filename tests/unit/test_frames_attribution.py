"""Whose pictures a made archive shows stands beside it."""

from pathlib import Path

from trygon.data.frames import attribution

LION = "| mammals/lion.png | stamps 1.0 | GPL-2 | A. Author | https://example.org/lion |"
PATH = "| plasma/Path.jpg | wallpapers 2.0 | LGPL-3 | B. Author | https://example.org/path |"
TIGER = "| mammals/tiger.png | stamps 1.0 | GPL-2 | A. Author | https://example.org/tiger |"
HEAD = "# Where these pictures come from\n\n| picture | package | licence | author | source |\n|---|---|---|---|---|\n"


def test_pictures_that_were_used_are_credited_and_no_others(tmp_path: Path) -> None:
    for folder, rows in {"photos": [LION, TIGER], "backgrounds": [PATH]}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ATTRIBUTION.md").write_text(HEAD + "\n".join(rows) + "\n")
    lines = attribution(tmp_path, {"mammals/lion.png", "plasma/Path.jpg"}).splitlines()
    assert lines[-2:] == [LION, PATH]
    assert TIGER not in lines
    assert sum(line.startswith("| picture |") for line in lines) == 1


def test_real_frame_is_credited_in_any_case(tmp_path: Path) -> None:
    assert "orinoquia/" in attribution(tmp_path, set())
    assert "biodex" in attribution(tmp_path, set())

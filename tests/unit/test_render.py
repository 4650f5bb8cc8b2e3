"""Pictures become samples of the size asked for; what cannot be used has a reason; parts give back what went in."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trygon.data.parts import Part, read_part, read_pictures, write_part
from trygon.data.render import Render, Rendering, Resize, render, sample_id
from trygon.data.sources.source import Picture
from trygon.testing.photos import draw_photo


def _photo(tmp_path: Path, size: tuple[int, int], cutout: bool = False, hue: int = 30) -> Picture:
    path = tmp_path / f"{size[0]}-{hue}.{'png' if cutout else 'jpg'}"
    draw_photo(path, hue, cutout, size)
    return Picture(path.name, path.read_bytes())


def _size(row: Render) -> tuple[int, int]:
    return Image.open(io.BytesIO(row.image)).size


@pytest.mark.parametrize(
    ("size", "resize", "expected"),
    [
        ((400, 200), Resize.KEEP, (128, 64)),
        ((60, 48), Resize.KEEP, (60, 48)),
        ((400, 200), Resize.SQUASH, (64, 64)),
        ((60, 48), Resize.SQUASH, (64, 64)),
    ],
)
def test_resize_policies(tmp_path: Path, size: tuple[int, int], resize: Resize, expected: tuple[int, int]) -> None:
    (row,) = render(_photo(tmp_path, size), "s", Rendering(side=64, resize=resize))
    assert not row.reason
    assert _size(row) == expected


def test_modes_that_upstream_left_as_they_were_become_rgb() -> None:
    """Upstream converted RGBA and P alone: grey and CMYK pictures stayed so in its shards."""
    for mode in ("L", "CMYK", "LA", "P", "I;16", "RGBA"):
        buffer = io.BytesIO()
        Image.new(mode, (80, 70)).save(buffer, "TIFF")
        (row,) = render(Picture("x", buffer.getvalue()), "s", Rendering(side=64))
        assert Image.open(io.BytesIO(row.image)).mode == "RGB", mode


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (Picture("a", b"", "missing"), "missing"),
        (Picture("a", b""), "empty"),
        (Picture("a", b"<html>404</html>"), "not_an_image"),
    ],
)
def test_what_cannot_be_used_has_a_reason(picture: Picture, reason: str) -> None:
    assert [row.reason for row in render(picture, "s", Rendering())] == [reason]


def test_small_and_truncated_pictures_have_a_reason(tmp_path: Path) -> None:
    small, whole = _photo(tmp_path, (31, 90)), _photo(tmp_path, (200, 150))
    assert [row.reason for row in render(small, "s", Rendering(min_side=32))] == ["too_small"]
    cut = Picture("cut", whole.data[: len(whole.data) // 2])
    assert [row.reason for row in render(cut, "s", Rendering())] == ["truncated"]


def test_a_banner_has_a_reason_and_ends_nothing(tmp_path: Path) -> None:
    banner = io.BytesIO()
    Image.new("RGB", (60_000, 100)).save(banner, "PNG")
    assert [row.reason for row in render(Picture("banner", banner.getvalue()), "s", Rendering())] == ["too_narrow"]


def test_the_least_side_may_be_above_that_of_samples(tmp_path: Path) -> None:
    (row,) = render(_photo(tmp_path, (1000, 1000)), "s", Rendering(side=64, min_side=300))
    assert not row.reason


@pytest.mark.parametrize("cutout", [True, False])
def test_views_are_the_same_every_time_and_differ_from_each_other(tmp_path: Path, cutout: bool) -> None:
    draw_photo(tmp_path / "grounds" / "ground.jpg", 9, cutout=False, size=(300, 200))
    rendering = Rendering(side=48, views=4, backgrounds=str(tmp_path / "grounds"), seed=1)
    picture = _photo(tmp_path, (120, 90), cutout)
    rows = list(render(picture, "s", rendering))
    assert rows == list(render(picture, "s", rendering))
    assert [row.view for row in rows] == [0, 1, 2, 3, 4]
    assert len({row.image for row in rows}) == 5
    assert {_size(row) for row in rows[1:]} == {(48, 48)}
    assert rows[0].digest
    assert not rows[1].digest


def test_a_copy_in_another_file_gives_the_same_fingerprint(tmp_path: Path) -> None:
    picture = _photo(tmp_path, (200, 150))
    tagged = io.BytesIO()
    Image.open(io.BytesIO(picture.data)).save(tagged, "PNG")
    rows = [next(render(Picture("x", data), "s", Rendering())) for data in (picture.data, tagged.getvalue())]
    assert rows[0].digest == rows[1].digest


pictures = st.lists(
    st.tuples(st.text("abc/.", min_size=1, max_size=6), st.binary(max_size=40)), unique_by=lambda it: it[0]
)


@settings(max_examples=30)  # each writes up to four files
@given(st.lists(pictures, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_parts_give_back_what_went_in(
    tmp_path_factory: pytest.TempPathFactory, contents: list[list[tuple[str, bytes]]], rng: np.random.Generator
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    parts, where, expected = [], [], []
    for number, rows in enumerate(contents):
        part = Part(str(folder), 0, number)
        write_part(part, "s", [Render(name, image=data, reason="" if data else "empty") for name, data in rows])
        table = read_part(part)
        assert table["sample_id"].to_pylist() == sorted(sample_id("s", name, 0) for name, _ in rows)
        stored = dict(rows)
        for row in table.to_pylist():
            where.append((number, row["offset"], row["bytes"]))
            expected.append(stored[row["source_id"]])
        parts.append(part)
    order = list(range(len(where)))
    rng.shuffle(order)
    columns = np.asarray([where[i] for i in order], np.int64).reshape(-1, 3).T
    assert read_pictures(parts, *columns) == [expected[i] for i in order]

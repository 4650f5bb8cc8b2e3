"""Pictures that a run gives out show animals, and people only where that is asked for."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trygon.archive.listing import Archive
from trygon.archive.pictures import People, output_picture

# Fine stripes: what a blur takes away and a scaled picture keeps apart from its surroundings.
STRIPES_HWC = np.repeat(((np.arange(240)[:, None] + np.arange(320)) // 2 % 2 * 255)[..., None], 3, 2).astype(np.uint8)
BOX = {"x": 0.25, "y": 0.25, "width": 0.25, "height": 0.5}


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """One frame of stripes."""
    buffer = io.BytesIO()
    Image.fromarray(STRIPES_HWC).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[:-60])
    return Archive(str(tmp_path))


def _show(archive: Archive, people: People, *categories: str, path: str = "a.png") -> np.ndarray | None:
    media = {"path": path, "decoded_share": None if path == "a.png" else 0.9}
    image = output_picture(archive, media, [BOX | {"category": name} for name in categories], people)
    return None if image is None else np.asarray(image)


def test_person_is_blurred_and_nothing_else(archive: Archive) -> None:
    image_HWC = _show(archive, People.BLUR, "animal", "person")
    assert image_HWC is not None
    person_HWC = image_HWC[60:180, 80:160].astype(int)
    assert person_HWC.min() > 60
    assert person_HWC.max() < 200
    outside = np.ones((240, 320), bool)
    outside[48:192, 72:168] = False  # with its margin
    assert np.array_equal(image_HWC[outside], STRIPES_HWC[outside])


@pytest.mark.parametrize("people", People)
def test_animals_are_shown(people: People, archive: Archive) -> None:
    shown = _show(archive, people, "animal", "vehicle", "frame")
    assert shown is not None
    assert np.array_equal(shown, STRIPES_HWC)


def test_person_is_shown_or_withheld_as_asked(archive: Archive) -> None:
    shown = _show(archive, People.SHOW, "person")
    assert shown is not None
    assert np.array_equal(shown, STRIPES_HWC)
    assert _show(archive, People.WITHHOLD, "animal", "person") is None


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0.999, 0.999, 0.001, 0.001), (-0.1, 0.9, 1.3, 0.3), (0.5, 0.5, 0, 0)])
def test_any_box_can_be_blurred(box: tuple[float, ...], archive: Archive) -> None:
    boxes = [dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"category": "person"}]
    image = output_picture(archive, {"path": "a.png", "decoded_share": None}, boxes, People.BLUR)
    assert image is not None
    assert image.size == (320, 240)


def test_what_is_there_of_a_truncated_frame_is_shown_and_what_is_gone_is_not(archive: Archive) -> None:
    assert _show(archive, People.BLUR, "animal", path="cut.png") is not None
    (Path(archive.uri) / "a.png").unlink()
    assert _show(archive, People.BLUR, "animal") is None

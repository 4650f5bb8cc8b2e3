"""Pictures that a run gives out show animals, and people only where that is asked for."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trygon.archive.inputs.listing import Archive
from trygon.archive.media.pictures import People, output_picture
from trygon.testing.videos import write_video

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
    media = {"path": path, "kind": "image", "decoded_share": None if path == "a.png" else 0.9}
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
    image = output_picture(archive, {"path": "a.png", "kind": "image", "decoded_share": None}, boxes, People.BLUR)
    assert image is not None
    assert image.size == (320, 240)


def test_what_is_there_of_a_truncated_frame_is_shown_and_what_is_gone_is_not(archive: Archive) -> None:
    assert _show(archive, People.BLUR, "animal", path="cut.png") is not None
    (Path(archive.uri) / "a.png").unlink()
    assert _show(archive, People.BLUR, "animal") is None


def test_frame_of_a_video_is_shown_with_its_own_people_blurred(tmp_path: Path) -> None:
    (tmp_path / "a.avi").write_bytes(write_video("avi", 3))
    media = {"path": "a.avi", "kind": "video", "frames": [10, 20], "decoded_share": None}
    person = {"x": 0.2, "y": 0.3, "width": 0.4, "height": 0.4, "category": "person", "frame_number": 20}
    shown = [output_picture(Archive(str(tmp_path)), media, [person], People.WITHHOLD, 0, it) for it in (None, 10, 20)]
    assert shown[0] is not None
    assert shown[1] is not None
    assert shown[2] is None
    assert np.array_equal(np.asarray(shown[0]), np.asarray(shown[1]))
    assert np.asarray(shown[1])[50:70, 50:70].min() > 200
    blurred = output_picture(Archive(str(tmp_path)), media, [person], People.BLUR, 0, 20)
    assert blurred is not None
    assert blurred.size == (160, 120)
    assert output_picture(Archive(str(tmp_path)), media, [], People.BLUR, 0, 900) is None

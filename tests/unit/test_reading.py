"""Every kind of file that an archive may hold becomes a frame or a row with its reason."""

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trygon import s3
from trygon.archive.inputs.listing import Archive
from trygon.archive.inputs.media import MediaFile
from trygon.archive.inputs.packed import opened
from trygon.archive.media.frames import Frames
from trygon.archive.media.pictures import People, output_picture
from trygon.archive.media.reading import Reading, open_file, read_file, require_rights
from trygon.data.images import BadImage
from trygon.errors import TrygonError, UserError
from trygon.schemas import FAILURES
from trygon.storage import write_bytes
from trygon.testing.s3 import Fault, FaultyS3, Kind, asking_for_keys, s3_server, using

GRID = np.random.default_rng(0).integers(40, 215, (6, 8, 3), np.uint8)
PHOTO = Image.fromarray(GRID).resize((320, 240), Image.Resampling.BICUBIC)


def _encode(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 8
    return _encode(PHOTO.transpose(Image.Transpose.ROTATE_270), exif=exif, quality=95)


def _sixteen_bits() -> bytes:
    return _encode(Image.fromarray(np.asarray(PHOTO.convert("L"), np.uint16) * 257), "PNG")


def _with_alpha() -> bytes:
    image = PHOTO.copy()
    image.putalpha(255)
    return _encode(image, "PNG")


def _several(kind: str) -> bytes:
    return _encode(PHOTO, kind, save_all=True, append_images=[Image.new("RGB", PHOTO.size, "red")])


ZOO: dict[str, Callable[[], bytes]] = {
    "cmyk.jpg": lambda: _encode(PHOTO.convert("CMYK"), quality=95),
    "grey.jpg": lambda: _encode(PHOTO.convert("L"), quality=95),
    "16-bit.png": _sixteen_bits,
    "animated.gif": lambda: _several("GIF"),
    "animated.webp": lambda: _several("WEBP"),
    "turned.jpg": _turned,
    "progressive.jpg": lambda: _encode(PHOTO, progressive=True, quality=95),
    "palette.png": lambda: _encode(PHOTO.quantize(), "PNG"),
    "alpha.png": _with_alpha,
    "two-views.jpg": lambda: _several("MPO"),
    "pages.tif": lambda: _several("TIFF"),
    "upper.BMP": lambda: _encode(PHOTO, "BMP"),
    "wrong-name.png": lambda: _encode(PHOTO, quality=95),
}


@pytest.mark.parametrize("name", ZOO)
def test_zoo_of_pictures(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(ZOO[name]())
    row = _read(tmp_path, name)
    assert row.get("failure") is None
    assert (row["width"], row["height"]) == (row["frame_width"], row["frame_height"]) == PHOTO.size
    pixels = np.frombuffer(row["frame"], np.uint8).reshape(240, 320, 3).astype(float)
    grey = name in ("grey.jpg", "16-bit.png")
    expected = np.asarray(PHOTO.convert("L").convert("RGB") if grey else PHOTO, float)
    assert np.abs(pixels - expected).mean() < 12
    assert len(row["input"]) == 64 * 64 * 3


def _read(folder: Path | str, name: str, **settings: Any) -> dict[str, Any]:
    """What is known of a still picture beside its name, from its one row."""
    (row,) = Frames(Archive(str(folder)), 64, Reading(**settings)).rows({"path": name})
    assert (row.pop("path"), row.pop("num_rows"), row.pop("kind")) == (name, 1, "image")
    return row


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_hundred_megapixels_become_a_frame_of_bounded_size(kind: str, tmp_path: Path) -> None:
    (tmp_path / "huge").write_bytes(_encode(Image.new("L", (10_000, 10_000), 90), kind, compress_level=1))
    row = _read(tmp_path, "huge")
    assert (row["width"], row["height"], row.get("failure")) == (10_000, 10_000, None)
    assert 1080 <= row["frame_width"] == row["frame_height"] < 2160
    assert set(row["frame"]) == {90}


JPEG = _encode(PHOTO)
BROKEN = {
    "empty": b"",
    "truncated": JPEG[: len(JPEG) // 2],
    "not_an_image": b"changed the batteries",
    "unsupported": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "too_large": b"BM" + bytes(8) + b"\x36\0\0\0\x28\0\0\0" + b"\x60\xea\0\0" * 2 + b"\1\0\x18\0" + bytes(24),
    "undecodable": _encode(PHOTO, "PNG").replace(b"IDATx", b"IDAT\0", 1),
}


def test_picture_of_more_bytes_than_one_has_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "disk.tif").open("wb") as file:
        file.truncate(30 << 30)  # a hole: to read it would fill the memory
    file = next(Archive(str(tmp_path)).files())
    (row,) = Frames(Archive(str(tmp_path)), 64).rows({"path": file.path, "bytes": file.bytes})
    assert (row["failure"], row["num_rows"], row.get("digest")) == ("too_large", 1, None)


@pytest.mark.parametrize("reason", BROKEN)
def test_every_kind_of_broken_file_has_its_reason(reason: str, tmp_path: Path) -> None:
    (tmp_path / "IMG.JPG").write_bytes(BROKEN[reason])
    row = _read(tmp_path, "IMG.JPG")
    assert row["failure"] == reason
    assert reason in FAILURES
    assert "frame" not in row
    assert len(row["digest"]) == 64


def test_truncated_file_is_a_frame_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "IMG.JPG").write_bytes(BROKEN["truncated"])
    refused, asked = (_read(tmp_path, "IMG.JPG", label_truncated=asked) for asked in (False, True))
    assert (refused["failure"], refused.get("frame")) == ("truncated", None)
    assert asked.get("failure") is None
    assert refused["decoded_share"] == asked["decoded_share"]
    assert 0.2 < asked["decoded_share"] < 0.8
    assert len(asked["frame"]) == 320 * 240 * 3
    (tmp_path / "IMG.JPG").write_bytes(_encode(PHOTO, progressive=True)[:-200])
    assert _read(tmp_path, "IMG.JPG", label_truncated=True)["failure"] == "truncated"  # no row of it is whole


def test_file_that_is_gone_or_closed_is_a_row_and_an_archive_that_is_gone_ends_the_run(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "folder.jpg").mkdir()
    assert _read(disk, "gone.jpg") == {"failure": "vanished"}
    assert _read(disk, "folder.jpg") == {"failure": "unreadable"}
    (disk / "folder.jpg").rmdir()
    with pytest.raises(TrygonError, match="bring its disk or network back"):
        _read(disk, "gone.jpg")  # a disk that was pulled out leaves an empty folder
    disk.rmdir()
    with pytest.raises(TrygonError, match="bring its disk or network back"):
        _read(disk, "gone.jpg")


def test_read_that_hangs_is_a_row_with_that_reason(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hangs.jpg")
    try:
        assert _read(tmp_path, "hangs.jpg", timeout_s=0.05) == {"failure": "timeout"}
    finally:
        os.close(os.open(tmp_path / "hangs.jpg", os.O_WRONLY | os.O_NONBLOCK))  # lets the thread end


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3 server with one frame."""
    with s3_server("objects") as address, using(address):
        write_bytes("s3://objects/a/IMG.JPG", JPEG)
        yield address


def test_object_that_s3_gives_an_error_for_is_a_row_while_the_server_answers(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    with FaultyS3(server, [Fault(Kind.SLOW_DOWN, 1, ("GET", "HEAD"), r"IMG\.JPG$")]) as proxy, using(proxy.address):
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        assert _read("s3://objects/a", "IMG.JPG") == {"failure": "s3_error"}
        proxy.faults = [Fault(Kind.DENY, 1, ("GET", "HEAD"), r"IMG\.JPG$")]
        assert _read("s3://objects/a", "IMG.JPG") == {"failure": "denied"}
        archive = Archive("s3://objects/a")
        assert archive.root == "s3://objects/a"
        proxy.faults = [Fault(Kind.SLOW_DOWN, 1)]
        with pytest.raises(TrygonError, match=r"s3://objects/a"):
            _read("s3://objects/a", "IMG.JPG")
        asked = sum(proxy.met.values())
        file = {"path": "IMG.JPG", "member": None, "bytes": 9, "failure": None}
        require_rights(archive, [file] * 99)
        assert sum(proxy.met.values()) < asked + 20  # not each of them
        proxy.faults = []
        assert _read("s3://objects/a", "IMG.JPG")["frame_width"] == 320


def test_keys_that_are_refused_end_the_run_and_an_unlucky_question_for_them_does_not(server: str) -> None:
    write_bytes("s3://objects/keys/card.zip", b"PK")
    archive = Archive("s3://objects/keys")
    assert archive.root == "s3://objects/keys"  # asked for before the keys are gone
    with asking_for_keys(server):
        for path in ("IMG.JPG", "card.zip"):
            with pytest.raises(UserError, match="does not take the keys"):
                read_file(archive, path)
        with pytest.raises(UserError, match="does not take the keys"):
            list(opened(iter([MediaFile("card.zip", 2)]), archive.root))
    expired = pytest.raises(UserError, match=r"does not take the keys \(ExpiredToken\)")
    with FaultyS3(server, [Fault(Kind.EXPIRE, 1)]) as proxy, using(proxy.address), expired:
        read_file(archive, "IMG.JPG")
    denied, busy = Fault(Kind.DENY, 1, ("HEAD",), r"IMG\.JPG$"), Fault(Kind.SLOW_DOWN, 1, ("GET",), "objects/?$")
    with FaultyS3(server, [denied, busy]) as proxy, using(proxy.address):
        with pytest.raises(BadImage, match="access denied"):
            open_file(archive, "IMG.JPG")  # which asks for the size first
        assert proxy.met[Kind.SLOW_DOWN] > 0


def test_keys_without_a_right_are_told_once_and_one_refused_file_is_a_row(server: str, tmp_path: Path) -> None:
    names = ("IMG.JPG", "A.JPG", "gone.jpg")
    files = [{"path": name, "member": None, "bytes": 9, "failure": None} for name in names]
    archive = Archive("s3://objects/a")
    write_bytes("s3://objects/a/A.JPG", JPEG)
    with FaultyS3(server, [Fault(Kind.DENY, 1, ("GET", "HEAD"), r"a/(IMG|A)\.JPG$")]) as proxy, using(proxy.address):
        with pytest.raises(UserError, match=r"S3 refuses 2 of 2 files that were tried, and gave none; the last: s3"):
            require_rights(archive, files[:2])
        require_rights(archive, files[1:])  # one of them is not there: that is its own reason
        proxy.faults = [Fault(Kind.DENY, 1, ("GET", "HEAD"), r"IMG\.JPG$")]
        require_rights(archive, files[:2])
    require_rights(archive, [{"path": "a", "member": None, "bytes": 9, "failure": "outside"}])
    require_rights(Archive(str(tmp_path)), files)


def test_packed_file_that_s3_refuses_is_no_damaged_one(server: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "card.zip", "w") as card:
        card.writestr("one.jpg", JPEG)
    write_bytes("s3://objects/cards/card.zip", (tmp_path / "card.zip").read_bytes())
    with FaultyS3(server, [Fault(Kind.DENY, 1, ("GET", "HEAD"), r"card\.zip$")]) as proxy, using(proxy.address):
        (file,) = Archive("s3://objects/cards").files()
        assert (file.path, file.failure) == ("card.zip", "denied")
        proxy.faults = []
        assert [file.path for file in Archive("s3://objects/cards").files()] == ["card.zip/one.jpg"]


def test_a_picture_that_s3_refuses_later_is_left_out_of_what_is_shown(server: str) -> None:
    row = {"path": "IMG.JPG", "kind": "image", "frames": None, "decoded_share": None}
    with FaultyS3(server, [Fault(Kind.DENY, 1, ("GET", "HEAD"), r"IMG\.JPG$")]) as proxy, using(proxy.address):
        assert output_picture(Archive("s3://objects/a"), row, [], People.BLUR) is None
        proxy.faults = []
        shown = output_picture(Archive("s3://objects/a"), row, [], People.BLUR)
    assert shown is not None
    assert shown.size == (320, 240)

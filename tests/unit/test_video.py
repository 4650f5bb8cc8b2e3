"""Videos as cameras write them, whole and broken, become the frames that are looked at."""

import io
import struct
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from trygon.archive.gathering import gathered
from trygon.archive.inputs.listing import Archive
from trygon.archive.media import video
from trygon.archive.media.frames import Frames
from trygon.archive.media.reading import Reading
from trygon.archive.media.video import Sampling
from trygon.storage import write_bytes
from trygon.testing.s3 import s3_server, using
from trygon.testing.videos import SIZE, write_video

TIME = "2024-05-31 23:59:58"
CLIP = write_video("avi", date=TIME)


def _rows(folder: str | Path, name: str, **settings: Any) -> list[dict[str, Any]]:
    return list(Frames(Archive(str(folder)), 64, Reading(**settings)).rows({"path": name, "media_id": 1}))


@pytest.mark.parametrize("kind", ["mp4", "avi", "bushnell"])
def test_frames_lie_a_second_apart(kind: str, tmp_path: Path) -> None:
    name = f"IMG_0001.{kind if kind == 'mp4' else 'AVI'}"
    (tmp_path / name).write_bytes(write_video(kind, 3.5, date=TIME, creation_time=TIME))
    rows = _rows(tmp_path, name)
    assert [row["frame_number"] for row in rows] == [0, 10, 20, 30]
    assert [row.get("num_rows") for row in rows] == [None, None, None, 4]
    for row in rows:
        pixels = np.frombuffer(row["frame"], np.uint8).reshape(*SIZE[::-1], 3)
        left = 10 + 3 * row["frame_number"] % 100
        assert pixels[45:75, left + 8 : left + 32].min() > 200
        assert pixels[90:].max() < 60
        assert len(row["input"]) == 64 * 64 * 3
    about = rows[-1]
    assert (about["kind"], about["frames"], about["width"], about["height"]) == ("video", [0, 10, 20, 30], *SIZE)
    assert about["duration"] == pytest.approx(3.5, abs=0.1)
    assert about["frame_rate"] == 10
    assert about["timestamp"] == datetime.fromisoformat(TIME)
    assert len(about["digest"]) == 64


def _turned(data: bytes, cosine: int, sine: int) -> bytes:
    """An MP4 that says that its pictures are to be turned so before they are shown."""
    at = data.index(b"tkhd") + 44
    sides = [cosine, sine, 0, -sine, cosine, 0]
    return data[:at] + struct.pack(">9l", *(it << 16 for it in sides), 0, 0, 1 << 30) + data[at + 36 :]


@pytest.mark.parametrize(("cosine", "sine"), [(1, 0), (0, 1), (-1, 0), (0, -1)])
def test_sides_of_a_video_are_those_of_its_upright_pictures(cosine: int, sine: int, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(_turned(write_video("mp4", 2), cosine, sine))
    *_, row = rows = _rows(tmp_path, "a.mp4")
    assert (row["width"], row["height"]) == (SIZE if cosine else SIZE[::-1])
    assert {(it["frame_width"], it["frame_height"]) for it in rows} == {(row["width"], row["height"])}


def test_long_video_has_no_more_frames_than_asked_for_over_all_its_length(tmp_path: Path) -> None:
    (tmp_path / "a.avi").write_bytes(write_video("avi", 8))
    numbers = _rows(tmp_path, "a.avi", sampling=Sampling(5, 4))[-1]["frames"]
    assert numbers == [0, 20, 40, 60]
    assert len(_rows(tmp_path, "a.avi", sampling=Sampling(5, 60))) == 40


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"changed the batteries", "not_an_image"),
        (CLIP[:100], "truncated"),
        (CLIP[: len(CLIP) // 2], "truncated"),
        (write_video("mp4")[:-400], "truncated"),
    ],
)
def test_broken_videos_have_their_reason(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.avi").write_bytes(data)
    rows = _rows(tmp_path, "a.avi")
    assert rows[-1]["failure"] == reason
    assert rows[-1].get("frame") is None
    assert rows[-1]["num_rows"] == len(rows)


def test_sound_without_pictures_is_unsupported(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w", format="avi") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert _rows(tmp_path, "a.avi")[-1]["failure"] == "unsupported"


def test_what_there_is_of_a_video_counts_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.avi").write_bytes(CLIP[: int(0.6 * len(CLIP))])
    rows = _rows(tmp_path, "a.avi", label_truncated=True)
    assert rows[-1].get("failure") is None
    assert 0.3 < rows[-1]["decoded_share"] < 0.8
    assert rows[-1]["frames"] == [0, 10]


@pytest.mark.parametrize("kind", ["mkv", "webm"])
def test_matroska_that_was_cut_off_is_told_by_its_bytes(kind: str, tmp_path: Path) -> None:
    """It says nowhere how many pictures it has."""
    data = write_video(kind, 8)
    (tmp_path / f"whole.{kind}").write_bytes(data)
    (tmp_path / f"cut.{kind}").write_bytes(data[: int(0.6 * len(data))])
    (tmp_path / f"unended.{kind}").write_bytes(_unended(data))
    for name in ("whole", "unended"):
        row = _rows(tmp_path, f"{name}.{kind}")[-1]
        assert (row.get("failure"), row.get("decoded_share"), len(row["frames"])) == (None, None, 8)
    row = _rows(tmp_path, f"cut.{kind}")[-1]
    assert (row["failure"], row["decoded_share"]) == ("truncated", pytest.approx(0.6, abs=0.02))
    row = _rows(tmp_path, f"cut.{kind}", label_truncated=True)[-1]
    assert row.get("failure") is None
    assert 2 <= len(row["frames"]) < 8


def _unended(data: bytes) -> bytes:
    """A Matroska file whose size is not known, as one that was streamed."""
    at = data.index(b"\x18\x53\x80\x67") + 4
    assert data[at] == 1  # eight bytes long
    return data[:at] + b"\x01" + b"\xff" * 7 + data[at + 8 :]


@pytest.mark.parametrize(
    ("sampling", "wanted", "numbers", "most"),
    [
        (Sampling(), [3], [3], 5),
        (Sampling(), [], [], 2),
        (Sampling(5, 2), None, [0, 15], 17),
        (Sampling(), None, [0, 10, 20], 31),
    ],
)
def test_pictures_behind_the_last_one_that_is_looked_at_are_not_decoded(
    sampling: Sampling, wanted: list[int] | None, numbers: list[int], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow machine would take minutes over them, without a sign of life."""
    decode, decoded = video._decode, []
    monkeypatch.setattr(video, "_decode", lambda packet: decoded.append(packet) or decode(packet))
    with video.open_video(io.BytesIO(CLIP)) as container:
        about = video.describe(container)
        found = [number for number, _ in video.sample(container, about, sampling, wanted)]
    assert (found, about.frames, about.share) == (numbers, numbers, None)
    assert len(decoded) <= most
    with video.open_video(io.BytesIO(CLIP[: int(0.6 * len(CLIP))])) as container:
        about = video.describe(container)
        list(video.sample(container, about, sampling, wanted))
    assert about.share == pytest.approx(0.6, abs=0.1)  # which is still told


def test_video_is_read_from_s3(tmp_path: Path) -> None:
    with s3_server("videos") as address, using(address):
        write_bytes("s3://videos/a/b.avi", CLIP)
        assert _rows("s3://videos/a", "b.avi")[-1]["frames"] == [0, 10, 20]
        assert _rows("s3://videos/a", "gone.avi")[-1]["failure"] == "vanished"


def _row(media_id: int, number: int | None, num_rows: int | None, failure: str | None = None) -> dict[str, Any]:
    found = [{"frame_number": number}] if failure is None else []
    return {"media_id": media_id, "num_rows": num_rows, "failure": failure, "detections": found}


def test_frames_that_come_in_any_order_become_one_row_a_file() -> None:
    rows = [_row(1, 20, 3), _row(2, None, 1), _row(3, 5, None), _row(1, 0, None), _row(3, None, 2, "truncated")]
    rows += [_row(4, 0, None, "undecodable"), _row(4, 5, 2)]
    came = list(gathered([*rows, _row(1, 10, None)]))
    assert [row["failure"] for row in came] == [None, "truncated", "undecodable", None]
    assert [(row["media_id"], [it["frame_number"] for it in row["detections"]]) for row in came] == [
        (2, [None]),
        (3, []),
        (4, []),
        (1, [0, 10, 20]),
    ]


def test_memory_of_a_video_is_that_of_a_frame(tmp_path: Path) -> None:
    """Rows are made as they are asked for."""
    (tmp_path / "a.avi").write_bytes(write_video("avi", 20))
    rows: Iterator[dict[str, Any]] = Frames(Archive(str(tmp_path)), 64).rows({"path": "a.avi"})
    assert next(rows)["frame_number"] == 0
    assert io.BytesIO(next(rows)["frame"]).getbuffer().nbytes == SIZE[0] * SIZE[1] * 3

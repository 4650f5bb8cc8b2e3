"""People in stills and videos, in everything that shows pictures: the review, its crops and examples, the report."""

import io
import os
import pwd
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from trygon.archive.inputs.listing import Archive
from trygon.archive.report.thumbnails import write_pictures
from trygon.archive.run_folder.reviews import ReviewLog, read_reviews
from trygon.archive.run_folder.run import Run
from trygon.archive.run_folder.search import RunSearch
from trygon.lease import Hold
from trygon.review.columns import Columns
from trygon.review.desk import Desk, Word
from trygon.review.examples import write_examples
from trygon.review.pictures import Pictures
from trygon.review.server import About, ReviewParts, application
from trygon.review.taxa import TaxonSearch
from trygon.storage import read_json, write_json
from trygon.taxonomy.taxon import RANKS
from trygon.testing.runs import TREE
from trygon.testing.shots import Seen, Shot, write_run
from trygon.testing.videos import SIZE, write_video
from trygon_jobs.review_run import user_name

FOX = next(taxon for taxon in TREE.taxa if taxon.common == "red fox")
NOON = datetime(2024, 5, 31, 12)
CLIP = {"kind": "video", "frames": [0, 10, 20], "width": SIZE[0], "height": SIZE[1]}


def test_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under the number of somebody else."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert user_name() == str(os.getuid())
    monkeypatch.setenv("USER", "ana")
    assert user_name() == "ana"


def _box(number: int) -> tuple[float, float, float, float]:
    """Where the animal of `write_video` is, with some of the dark ground around it: a blur mixes them."""
    return (3 * number % 100) / 160, 30 / 120, 60 / 160, 60 / 120


def _run(folder: Path, *shots: Shot, people: str = "blur") -> Run:
    """A run of shots over the same clip, or its frame 10 for stills."""
    run = write_run(folder / "run", shots)
    archive = folder / "archive"
    about = {"archive": str(archive), "images": None, "people": people}
    write_json(folder / "run/config.json", read_json(folder / "run/config.json") | about)
    clip = write_video("avi", 3)
    for shot in shots:
        path = archive / shot.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip if shot.about else _still())
    return Run.open(run.folder)


def _still() -> bytes:
    pixels_HWC = np.full((SIZE[1], SIZE[0], 3), 16, np.uint8)
    pixels_HWC[40:80, 40:80] = 240
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _desk(run: Run) -> Desk:
    log = ReviewLog(run.folder, Hold())
    return Desk(Columns.of(run), read_reviews(run.folder).to_pylist(), TaxonSearch(TREE), log)


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)), np.int16)


def _is_sharp(pixels_HWC: np.ndarray) -> bool:
    """Whether the animal has its edge: a step from dark to bright within two pixels."""
    return bool(np.abs(pixels_HWC[:, 2:] - pixels_HWC[:, :-2]).max() > 120)


def _shown(pictures: Pictures, media_id: int, number: int | None = None) -> bool | None:
    """Whether a frame is sharp; None where it is withheld."""
    try:
        return _is_sharp(_pixels(pictures.frame(media_id, 240, number)))
    except FileNotFoundError:
        return None


def _media_id(run: Run) -> int:
    return run.media["media_id"][0].as_py()


def _in_report(run: Run, folder: Path) -> bool | None:
    """Whether the report's picture of the run's one file is sharp; None where there is none."""
    (row,) = write_pictures(run, Archive(run.config["archive"]), [_media_id(run)], folder).values()
    return _is_sharp(_pixels((folder / row["picture"]).read_bytes())) if row["picture"] else None


@pytest.mark.parametrize(("people", "hidden"), [("blur", False), ("withhold", None), ("show", True)])
def test_person_in_a_video_is_hidden_in_its_frame_and_crop(people: str, hidden: bool | None, tmp_path: Path) -> None:
    seen = [Seen("human", box=_box(10), frame_number=10), Seen("animal", FOX, box=_box(20), frame_number=20)]
    run = _run(tmp_path, Shot("a/1.avi", NOON, seen, about=CLIP), people=people)
    columns = Columns.of(run)
    pictures = Pictures.of(run, columns)
    assert [_shown(pictures, _media_id(run), number) for number in (None, 0, 10, 20)] == [True, True, hidden, True]
    crops: dict[str, bool | None] = {}
    for row in columns.table.select(["type", "observation_id"]).to_pylist():
        try:
            crops[row["type"]] = _is_sharp(_pixels(pictures.crop(row["observation_id"])))
        except FileNotFoundError:
            crops[row["type"]] = None
    assert crops == {"human": hidden, "animal": True}
    with pytest.raises(LookupError):
        pictures.frame(_media_id(run), 240, 11)


@pytest.mark.parametrize("number", [None, 10], ids=["still", "video"])
@pytest.mark.parametrize(
    "seen",
    [
        Seen("animal", FOX, category="person"),
        Seen("vehicle", category="person"),
        Seen("unknown", category="person"),
        Seen("human", category="animal", set_aside="repeated"),
        Seen("blank", category="person", set_aside="blank"),
        Seen("human", category="animal"),
    ],
    ids=lambda seen: f"{seen.category} called {seen.type}",
)
def test_person_stays_hidden_whatever_the_run_calls_it(seen: Seen, number: int | None, tmp_path: Path) -> None:
    about = {"box": _box(10), "frame_number": number}
    # Beside it, so that the report shows this frame: the surest box.
    fox = Seen("animal", FOX, confidence=0.99, box=(0.7, 0.8, 0.1, 0.1), frame_number=number)
    shot = Shot("a/1.avi", NOON, [Seen(**vars(seen) | about), fox], about=CLIP if number else {})
    run = _run(tmp_path, shot)
    assert _shown(Pictures.of(run, Columns.of(run)), _media_id(run), number) is False
    assert _in_report(run, tmp_path) is False


@pytest.mark.parametrize("number", [None, 10], ids=["still", "video"])
def test_box_that_a_person_calls_human_is_hidden_everywhere(number: int | None, tmp_path: Path) -> None:
    seen = Seen("animal", FOX, box=_box(10), frame_number=number)
    run = _run(tmp_path, Shot("a/1.avi", NOON, [seen], about=CLIP if number else {}))
    desk = _desk(run)
    pictures = Pictures.of(run, desk.columns, said=desk.said)
    assert (_shown(pictures, _media_id(run), number), _in_report(run, tmp_path)) == (True, True)
    one = desk.columns.table["observation_id"][0].as_py()
    said = desk.name_some([one], Word("Ana", "human"))
    again = Run.open(run.folder)
    assert _shown(pictures, _media_id(run), number) is False
    assert _is_sharp(_pixels(pictures.crop(one))) is False
    assert _shown(Pictures.of(again, desk.columns), _media_id(run), number) is False
    assert _in_report(again, tmp_path) is False
    desk.undo([row["review_id"] for row in said], "Ana")
    assert _shown(pictures, _media_id(run), number) is True


def test_file_that_a_person_calls_human_is_hidden_as_a_whole(tmp_path: Path) -> None:
    run = _run(tmp_path, Shot("a/1.avi", NOON, about=CLIP))
    desk = _desk(run)
    pictures = Pictures.of(run, desk.columns, said=desk.said)
    assert [_shown(pictures, _media_id(run), number) for number in (0, 10, 20)] == [True] * 3
    desk.name_some([desk.columns.table["observation_id"][0].as_py()], Word("Ana", "human"))
    assert [_shown(pictures, _media_id(run), number) for number in (0, 10, 20)] == [False] * 3
    assert _in_report(Run.open(run.folder), tmp_path) is False


@pytest.mark.parametrize("number", [None, 10], ids=["still", "video"])
@pytest.mark.parametrize(("people", "hidden"), [("blur", False), ("withhold", None)])
def test_frame_that_a_person_calls_human_is_hidden_around_the_boxes_in_it(
    people: str, hidden: bool | None, number: int | None, tmp_path: Path
) -> None:
    stump = Seen("animal", FOX, box=(0.7, 0.8, 0.1, 0.1), set_aside="repeated", frame_number=number)
    run = _run(tmp_path, Shot("a/1.avi", NOON, [stump], about=CLIP if number else {}), people=people)
    desk = _desk(run)
    whole, box = sorted(run.predictions.to_pylist(), key=lambda row: row["detection_id"] is not None)
    desk.name_some([box["observation_id"]], Word("Ana", "animal"))
    assert _in_report(Run.open(run.folder), tmp_path) is True
    for word in (Word("Ana", "human"), Word("Ana", "vehicle")):
        desk.name_some([whole["observation_id"]], word)
        again = Run.open(run.folder)
        is_shown = True if word.type == "vehicle" else hidden
        assert _in_report(again, tmp_path) is is_shown
        assert _shown(Pictures.of(again, desk.columns), _media_id(run), number) is is_shown


def test_examples_are_of_their_own_frames_and_of_no_person(tmp_path: Path) -> None:
    fox = [Seen("animal", FOX, box=_box(number), frame_number=number) for number in (10, 20)]
    person = Seen("animal", FOX, category="person", box=_box(0), frame_number=0)
    run = _run(tmp_path, Shot("a/1.avi", NOON, [*fox, person], about=CLIP))
    desk = _desk(run)
    event = desk.event(run.events["event_id"][0].as_py())
    desk.confirm(int(event["id"]), "Ana", event["version"])
    again = Run.open(run.folder)
    columns = Columns.of(again)
    assert write_examples(again, columns, Pictures.of(again, columns), tmp_path / "out", 9) == (2, 1, 1)
    for path in tmp_path.glob("out/*/*.jpg"):
        pixels_HWC = _pixels(path.read_bytes())
        height, width = pixels_HWC.shape[:2]
        assert pixels_HWC[height // 2 - 9 : height // 2 + 9, width // 2 - 9 : width // 2 + 9].min() > 200


def test_no_example_is_cut_out_of_a_frame_that_is_hidden_as_a_whole(tmp_path: Path) -> None:
    stump = Seen("animal", FOX, box=_box(10), set_aside="repeated", frame_number=10)
    run = _run(tmp_path, Shot("a/1.avi", NOON, [stump], about=CLIP))
    desk = _desk(run)
    whole, box = sorted(run.predictions.to_pylist(), key=lambda row: row["detection_id"] is not None)
    names = {name: box[name] for name in ("rank", *RANKS, "scientific", "common")}
    desk.name_some([box["observation_id"]], Word("Ana", "animal", names))
    for kind, written in (("vehicle", (1, 1, 0)), ("human", (0, 0, 1))):
        desk.name_some([whole["observation_id"]], Word("Ana", kind))
        again = Run.open(run.folder)
        columns = Columns.of(again)
        assert write_examples(again, columns, Pictures.of(again, columns), tmp_path / "out", 9) == written
    assert not list(tmp_path.glob("out/*/*.jpg"))


def test_browser_asks_again_whether_a_picture_still_shows_what_it_did(tmp_path: Path) -> None:
    run = _run(tmp_path, Shot("a/1.avi", NOON, [Seen("animal", FOX, box=_box(10), frame_number=10)], about=CLIP))
    desk = _desk(run)
    pictures = Pictures.of(run, desk.columns, said=desk.said)
    parts = ReviewParts(desk, pictures, lambda: RunSearch(run, desk.columns.table), About("a", "Ana", len(TREE)))
    with TestClient(application(parts, "secret", 80), base_url="http://127.0.0.1:80") as client:
        client.headers.update({"host": "127.0.0.1:80"})
        client.get("/?token=secret")
        address = f"/frames/{_media_id(run)}.jpg?width=240&number=10"
        first = client.get(address)
        kept: Any = {"if-none-match": first.headers["etag"]}
        assert client.get(address, headers=kept).status_code == 304
        event = client.get(f"/api/events/{run.events['event_id'][0].as_py()}").json()
        ids = [one["id"] for frame in event["frames"] for one in frame["observations"]]
        assert client.post("/api/reviews", json={"observations": ids, "type": "human"}).status_code == 200
        after = client.get(address, headers=kept)
        assert after.status_code == 200
        assert (_is_sharp(_pixels(first.content)), _is_sharp(_pixels(after.content))) == (True, False)
        assert client.get(f"/frames/{_media_id(run)}.jpg?number=7").status_code == 404
        assert client.get(f"/frames/{_media_id(run)}.jpg?number=-1").status_code == 422

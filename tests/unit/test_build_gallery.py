"""Galleries: what may be shown is there with its credit and vector, what may not is a row with the reason."""

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trygon.data.images import preprocess
from trygon.data.sources.catalog import open_source
from trygon.errors import UserError
from trygon.gallery.building import LONGEST_SIDE, thumbnail
from trygon.gallery.card import PICTURES, GalleryCard, read_card
from trygon.gallery.gallery import Gallery
from trygon.models.model import Model, load_model
from trygon.storage import list_files, stable_id
from trygon.taxonomy.taxon import RANKS, Rank
from trygon.testing.s3 import s3_server, using
from trygon.testing.tiny import write_tiny_model
from trygon_jobs.build_gallery import BuildGalleryConfig
from trygon_jobs.build_gallery import main as build_gallery

_FOX = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Vulpes", "vulpes")
_WOLF = (*_FOX[:5], "Canis", "lupus")
_COLUMNS = ["path", *RANKS, "common", "license", "author", "source_url"]


def _row(path: str, lineage: Sequence[str], common: str, **credit: str) -> dict[str, str]:
    told = {"license": "CC-BY-4.0", "author": "the author", "source_url": f"https://example.org/{path}"}
    return {"path": path, **dict(zip(RANKS, lineage, strict=True)), "common": common} | told | credit


def _labels(folder: Path, rows: Sequence[dict[str, str]]) -> None:
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def _photo(path: Path, seed: int, size: tuple[int, int] = (600, 400), **options: Any) -> None:
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (5, 6, 3), np.uint8))
    coarse.resize(size).save(path, **options)


_ROWS = [
    _row("fox1.jpg", _FOX, "Red Fox"),
    _row("./fox2.jpg", _FOX, "Red Fox", source_url="javascript:alert(1)"),
    _row("wolf.jpg", _WOLF, "Gray Wolf", author=""),
    _row("broken.jpg", _WOLF, "Gray Wolf"),
    _row("own.jpg", _WOLF, "Gray Wolf", license=""),
    _row("nameless.jpg", ("",) * 7, ""),
    _row("gone.jpg", _FOX, "Red Fox"),
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three that can be shown, and one of each kind that cannot."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed, name in enumerate(("fox1", "fox2", "wolf", "own", "nameless", "unknown")):
        _photo(folder / f"{name}.jpg", seed)
    (folder / "broken.jpg").write_bytes((folder / "wolf.jpg").read_bytes()[:5000])
    _labels(folder, _ROWS)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(write_tiny_model(tmp_path_factory.mktemp("model")), "cpu")


def _build(pictures: Path, model: Model, out: str | Path, **options: str) -> GalleryCard:
    build_gallery(BuildGalleryConfig(model=model.ref, pictures=str(pictures), out=str(out), **options))
    return read_card(out)


@pytest.fixture(scope="module")
def folder(pictures: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "gallery"
    _build(pictures, model, out)
    return out


def test_what_cannot_be_shown_is_a_row_with_the_reason(folder: Path, model: Model) -> None:
    card = read_card(folder)
    reasons = {"broken": "truncated", "own": "no_license", "nameless": "no_name", "gone": "missing"}
    table = pq.read_table(folder / card.state / PICTURES)
    rows = {row["source_id"].removesuffix(".jpg"): row for row in table.to_pylist()}
    assert {name: row["failure"] for name, row in rows.items() if row["failure"]} == {
        **reasons, "unknown": "unlabelled"
    }  # fmt: skip
    assert all((row["vector"] is None) == (row["thumbnail"] is None) == bool(row["failure"]) for row in rows.values())
    assert (card.num_pictures, card.num_taxa, sum(card.num_failed.values())) == (3, 2, 5)
    assert (card.model, card.model_ref, card.encoder) == (model.digest, model.ref, "torch")


def test_a_picture_finds_itself_with_its_name_and_credit(folder: Path, model: Model, pictures: Path) -> None:
    gallery = Gallery(folder)
    data = (pictures / "fox2.jpg").read_bytes()
    vector_D = model.encode_images(preprocess(data, model.side, model.resize_mode)[None])[0]
    found = gallery.nearest(vector_D, 5)
    assert len(found) == len(gallery) == 3
    assert found[0].picture_id == stable_id(pictures.name, "fox2.jpg")
    assert found[0].cosine == pytest.approx(1, abs=2e-3)
    assert found[0].taxon.label == "Red Fox (Vulpes vulpes)"
    credits = {it.row["source_id"]: (it.row["rights_holder"], it.row["license"], it.row["source_url"]) for it in found}
    assert credits == {
        "fox1.jpg": ("the author", "CC-BY-4.0", "https://example.org/fox1.jpg"),
        "fox2.jpg": ("the author", "CC-BY-4.0", ""),  # an address that would run when it is clicked on
        "wolf.jpg": ("", "CC-BY-4.0", "https://example.org/wolf.jpg"),
    }


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), {"fox1.jpg", "fox2.jpg", "wolf.jpg"}),
        (("vulpes  VULPES",), {"fox1.jpg", "fox2.jpg"}),
        (("gray wolf",), {"wolf.jpg"}),
        (("Canis", "Red Fox"), {"fox1.jpg", "fox2.jpg", "wolf.jpg"}),
        (("Carnivora",), {"fox1.jpg", "fox2.jpg", "wolf.jpg"}),
        (("lupus",), set()),  # an epithet alone is nobody's name
        (("unicorn",), set()),
    ],
)
def test_names_at_any_rank_leave_out_the_others(folder: Path, names: tuple[str, ...], found: set[str]) -> None:
    gallery = Gallery(folder)
    nearest = gallery.nearest(np.eye(16, dtype=np.float32)[0], 5, gallery.allowed(names))
    assert {it.row["source_id"] for it in nearest} == found


def test_namesakes_in_another_kingdom_or_at_another_rank_are_not_shown_for_a_taxon(folder: Path) -> None:
    gallery = Gallery(folder)
    fox = (int(Rank.GENUS), "Vulpes")
    assert gallery.showing(*fox, "Animalia").tolist() == gallery.showing(*fox, "").tolist()
    assert [gallery.showing(*it).sum() for it in ((*fox, "Animalia"), (*fox, "Plantae"))] == [2, 0]
    assert gallery.showing(int(Rank.FAMILY), "Vulpes", "Animalia").sum() == 0
    assert gallery.showing(int(Rank.SPECIES), "Canis lupus", "Animalia").sum() == 1
    assert gallery.showing(int(Rank.ORDER), "Carnivora", "Animalia").sum() == 3


def test_what_is_shown_is_small_and_tells_nothing_else(folder: Path, pictures: Path) -> None:
    gallery = Gallery(folder)
    shown = gallery.thumbnail(stable_id(pictures.name, "fox1.jpg"))
    assert shown == thumbnail((pictures / "fox1.jpg").read_bytes())
    assert shown
    assert Image.open(io.BytesIO(shown)).size == (320, 213)
    assert gallery.thumbnail(stable_id(pictures.name, "broken.jpg")) is None
    assert gallery.thumbnail(-1) is None


def test_place_and_comment_are_not_passed_on_and_the_picture_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    exif.get_ifd(0x8825)[2] = (51.0, 30.0, 0.0)  # where it was taken
    exif[315] = "the owner"
    _photo(tmp_path / "a.jpg", 0, (3000, 2000), exif=exif, comment=b"at home")
    assert b"at home" in (tmp_path / "a.jpg").read_bytes()
    image = Image.open(io.BytesIO(thumbnail((tmp_path / "a.jpg").read_bytes())))
    assert (image.format, image.size) == ("JPEG", (213, LONGEST_SIDE))
    assert not image.getexif()
    assert "comment" not in image.info


def test_more_pictures_than_a_row_group_are_each_shown_as_themselves(model: Model, tmp_path: Path) -> None:
    """Bad ones lie between, so that places in the file and in the index differ."""
    rows = []
    for number in range(150):
        name = f"{number:03d}.jpg"
        if number % 7 == 3:
            (tmp_path / name).write_bytes(b"no picture")
        else:
            _photo(tmp_path / name, number, (24, 16))
        rows.append(_row(name, _FOX, "Red Fox"))
    _labels(tmp_path, rows)
    card = _build(tmp_path, model, tmp_path / "out" / "gallery")
    gallery = Gallery(tmp_path / "out" / "gallery")
    assert card.num_failed == {"not_an_image": 21}
    for number in (0, 2, 4, 63, 64, 65, 127, 128, 149):
        picture_id = stable_id(tmp_path.name, f"{number:03d}.jpg")
        assert gallery.thumbnail(picture_id) == thumbnail((tmp_path / f"{number:03d}.jpg").read_bytes())


def test_a_new_state_takes_the_place_and_the_open_one_goes_on(pictures: Path, model: Model, tmp_path: Path) -> None:
    first = _build(pictures, model, tmp_path)
    gallery, fox, own = Gallery(tmp_path), *(stable_id(pictures.name, f"{it}.jpg") for it in ("fox1", "own"))
    second = _build(pictures, model, tmp_path, license="CC0-1.0", author="the museum")
    assert len(gallery) == 3
    assert gallery.thumbnail(fox)
    assert gallery.thumbnail(own) is None
    assert Gallery(tmp_path).thumbnail(own)
    credits = {it.row["source_id"]: it.row for it in Gallery(tmp_path).nearest(np.ones(16) / 4, 9)}
    assert (credits["own.jpg"]["license"], credits["own.jpg"]["rights_holder"]) == ("CC0-1.0", "the author")
    assert (credits["wolf.jpg"]["license"], credits["wolf.jpg"]["rights_holder"]) == ("CC-BY-4.0", "the museum")
    assert {it.name for it in tmp_path.iterdir() if it.is_dir()} == {first.state, second.state}  # servers have it open


def test_a_build_removes_old_states_and_nothing_else(pictures: Path, model: Model, tmp_path: Path) -> None:
    for name in ("202405011230", "my/state-000000000000", "state-111111111111"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.txt").write_text("a")
    cards = [_build(pictures, model, tmp_path) for _ in range(3)]
    assert {it.name for it in tmp_path.iterdir() if it.is_dir()} == {
        "202405011230",
        "my",
        *(it.state for it in cards[1:]),
    }
    assert (tmp_path / "my/state-000000000000/a.txt").exists()


def test_a_list_whose_pictures_lie_elsewhere_is_taken_too(pictures: Path, model: Model, tmp_path: Path) -> None:
    shutil.copy(pictures / "fox1.jpg", tmp_path / "copy.jpg")
    _labels(tmp_path, [_row(str(pictures / "wolf.jpg"), _WOLF, "Gray Wolf"), _row("copy.jpg", _FOX, "Red Fox")])
    (tmp_path / "labels.csv").rename(tmp_path / "mine.csv")
    assert _build(tmp_path / "mine.csv", model, tmp_path / "gallery").num_pictures == 2


def test_a_gallery_on_s3_is_replaced_and_read_there(
    pictures: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRYGON_CACHE", str(tmp_path / "cache"))
    with s3_server("galleries") as server, using(server):
        place = "s3://galleries/garden"
        states = [_build(pictures, model, place).state for _ in range(3)]
        assert {file.split("/")[-2] for file in list_files(place, suffix=".parquet")} == set(states[1:])
        gallery = Gallery(place)
    assert len(gallery) == 3
    assert gallery.thumbnail(stable_id(pictures.name, "wolf.jpg"))


def test_nothing_to_show_is_said_and_the_gallery_stays(pictures: Path, model: Model, tmp_path: Path) -> None:
    card = _build(pictures, model, tmp_path / "gallery")
    (tmp_path / "few").mkdir()
    _photo(tmp_path / "few" / "a.jpg", 0)
    _labels(tmp_path / "few", [_row("a.jpg", _FOX, "Red Fox", license="")])
    with pytest.raises(UserError, match=r"no picture can be shown \(1 no_license\).*--license"):
        _build(tmp_path / "few", model, tmp_path / "gallery")
    assert read_card(tmp_path / "gallery") == card
    assert {it.name for it in (tmp_path / "gallery").iterdir() if it.is_dir()} == {card.state}


def test_what_is_no_gallery_is_said_in_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no finished gallery"):
        Gallery(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / read_card(copy).state / PICTURES
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="is damaged"):
        Gallery(copy)
    (copy / "gallery.json").write_text('{"version": 1, "state": "../../etc"}')
    with pytest.raises(UserError, match="another version"):
        Gallery(copy)


def test_a_source_tells_the_pages_of_its_pictures(pictures: Path) -> None:
    rows = {row["source_id"]: row["source_url"] for row in open_source(str(pictures)).records().to_pylist()}
    assert rows["fox1.jpg"] == "https://example.org/fox1.jpg"

"""A camera-trap archive made of the sample data, as cameras write one: for the demo and to try a labelling run on.

Cut-outs of mammals and birds stand on landscapes, in bursts, by day and by night; names repeat from camera to camera;
some triggers caught nothing and some files are broken. Where the sample data are drawn, so are animals and landscapes.
Knows nothing of detection. Sizes are in pixels.
"""

import csv
import io
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from trygon.data.composites import add_noise, open_organism
from trygon.data.images import decode
from trygon.data.packages import BIODEX
from trygon.data.sample.drawn import drawn_beasts, drawn_grounds
from trygon.data.sample.photos import ATTRIBUTION_HEADER, write_table
from trygon.errors import UserError
from trygon.storage import require_folder, write_bytes, write_text
from trygon.taxonomy.taxon import RANKS

WIDTH, HEIGHT, STRIP = 1280, 960, 44
"""A frame, and the dark strip below it that cameras write the time into."""

_FOLDER = "100EK113"
_BEGUN = ".begun"
"""Says that what lies in the folder is an unfinished archive of the sample data."""
_MAKE = "TRYGON"
_INTRODUCTION = f"""# Where the frames come from

They show the pictures below, changed: cut-outs on landscapes. Each picture keeps its author's licence.
orinoquia/{_FOLDER}/IMG_0001.JPG is a real frame, unchanged: {BIODEX.license}, from {BIODEX.name} {BIODEX.version}.

{ATTRIBUTION_HEADER}"""


@dataclass(frozen=True)
class Camera:
    """One deployment: a place that stays the same, and who comes by."""

    deployment: str
    model: str
    background: str
    start: datetime
    visitors: tuple[str, ...]
    """Cut-outs, by their paths among the sample photos; a blank is a trigger by wind."""


def _stamps(*names: str) -> tuple[str, ...]:
    """The paths of Tux Paint's animals among the sample photos: mammals unless their name says birds."""
    groups = ("" if name.startswith("birds/") else "mammals/" for name in names)
    return tuple(name and f"tuxpaint/animals/{group}{name}.png" for group, name in zip(groups, names, strict=True))


CAMERAS = (
    Camera(
        "north-ridge",
        "TC-3 Forest",
        "plasma/Path.jpg",
        datetime(2025, 5, 3, 5, 41, 12),
        _stamps("dogs/fox", "", "wildboar", "deer/wapiti", "badger", "bears/european-bear", "", "deer/deer"),
    ),
    Camera(
        "dry-wash",
        "TC-3 Forest",
        "gcompris/explore_monuments/usa/canyondeChelly.webp",
        datetime(2025, 5, 2, 17, 8, 44),
        _stamps(
            "equines/zebra", "bovines/gnu-stand", "", "elephant", "cats/lion-2", "rhino_black", "", "camel/dromedary"
        ),
    ),
    Camera(
        "gorge-trail",
        "TC-5 Pro",
        "gcompris/explore_monuments/india/ajantaCave.webp",
        datetime(2025, 5, 3, 6, 2, 30),
        _stamps(
            "birds/turkey", "", "bovines/indian_blackbuck", "cats/tiger", "equines/donkey", "", "bovines/mountaingoat"
        ),
    ),
)


@dataclass(frozen=True)
class Animal:
    """A cut-out in a frame: its row of the sample photos' labels.csv, and its box as parts of the frame (left, top,
    width, height)."""

    label: dict[str, str]
    box: tuple[float, float, float, float]


def write_archive(sample: Path, out: Path, seed: int = 0) -> bool:
    """Fill `out` with about 60 frames; False where that was done. `UserError` where it holds anything else, which
    would be removed.

    Beside it come the truth (`OUT-truth.csv`) and the licences of the pictures it is made of (`OUT-ATTRIBUTION.md`).
    `sample` is a folder that `trygon sample` filled. The same seed makes the same bytes.
    """
    out = out.absolute()  # `.` has no name
    truth = out.with_name(f"{out.name}-truth.csv")
    if truth.is_file() and out.is_dir():
        return False
    begun = out / _BEGUN
    if out.exists() and any(out.iterdir()) and not begun.is_file():
        what = "files that are no archive of the sample data"
        raise UserError(f"--archive {out} holds {what}: give another --archive, or remove it")
    hint = "Run `trygon sample` first."
    photos = require_folder(sample / "photos", "the sample photos' folder", hint)
    labels = {row["path"]: row for row in csv.DictReader((photos / "labels.csv").read_text("utf-8").splitlines())}
    if begun.is_file():
        shutil.rmtree(out)
    write_text(begun, "")
    rows: list[dict[str, str]] = []
    backgrounds = require_folder(sample / "backgrounds", "the backgrounds' folder", hint)
    cameras = _cameras(labels, backgrounds)
    for camera in cameras:
        for name, when, image, animals in _frames(camera, photos, backgrounds / camera.background, labels, seed):
            path = f"{camera.deployment}/{_FOLDER}/{name}"
            write_bytes(out / path, _jpeg(image, when, camera))
            rows += _truth(path, camera.deployment, animals)
    rows += _write_odd_files(out, sample / "frames" / "bushnell-night.jpg")
    used = {row["photo"] for row in rows} | {camera.background for camera in cameras}
    write_text(out.with_name(f"{out.name}-ATTRIBUTION.md"), attribution(sample, used))
    write_table(truth, rows)
    begun.unlink()
    return True


def _cameras(photos: Iterable[str], backgrounds: Path) -> list[Camera]:
    """CAMERAS; with drawn animals and drawn grounds where the sample data have these in place of the photos."""
    beasts, grounds = cycle(drawn_beasts(photos)), cycle(drawn_grounds(backgrounds))
    cameras = []
    for camera in CAMERAS:
        visitors = tuple(visitor and next(beasts, visitor) for visitor in camera.visitors)
        cameras.append(replace(camera, visitors=visitors, background=next(grounds, camera.background)))
    return cameras


def attribution(sample: Path, used: set[str]) -> str:
    """What the sample folder says of the pictures that were used, as a Markdown table with licences and authors."""
    files = [sample / folder / "ATTRIBUTION.md" for folder in ("photos", "backgrounds")]
    lines = [line for file in files if file.is_file() for line in file.read_text("utf-8").splitlines(keepends=True)]
    return _INTRODUCTION + "".join(line for line in lines if line.startswith("| ") and line[2:].split(" |")[0] in used)


_Frame = tuple[str, datetime, Image.Image, list[Animal]]


def _frames(
    camera: Camera, photos: Path, background: Path, labels: dict[str, dict[str, str]], seed: int
) -> Iterator[_Frame]:
    rng = np.random.default_rng([seed, *camera.deployment.encode()])
    scene = ImageOps.fit(decode(background.read_bytes()), (WIDTH, HEIGHT - STRIP), Image.Resampling.LANCZOS)
    when, number = camera.start, 0
    for visitor in camera.visitors:
        night = not 6 <= when.hour < 19
        animal = _Walk(visitor, photos, labels, scene, night, rng) if visitor else None
        for _ in range(3 if visitor else int(rng.integers(1, 3))):
            number += 1
            image, seen = animal.step() if animal else (scene.copy(), [])
            yield f"IMG_{number:04d}.JPG", when, _finish(image, when, night, camera, rng), seen
            when += timedelta(seconds=int(rng.integers(1, 5)))
        when += timedelta(minutes=int(rng.integers(25, 400)))


class _Walk:
    """An animal that crosses the scene, a step a frame."""

    def __init__(
        self,
        path: str,
        photos: Path,
        labels: dict[str, dict[str, str]],
        scene: Image.Image,
        night: bool,
        rng: np.random.Generator,
    ) -> None:
        cutout = open_organism((photos / path).read_bytes())
        self.turned = bool(rng.random() < 0.5)
        cutout = ImageOps.mirror(cutout) if self.turned else cutout
        scale = rng.uniform(330, 480) / max(cutout.size)
        size = (round(cutout.width * scale), round(cutout.height * scale))
        self.cutout = _blend_light(cutout.resize(size, Image.Resampling.LANCZOS), scene, night)
        self.label, self.scene, self.rng = labels[path], scene, rng
        self.left = int(rng.integers(80, WIDTH - size[0] - 80))
        self.feet = int(rng.integers(int(0.80 * scene.height), int(0.95 * scene.height)))

    def step(self) -> tuple[Image.Image, list[Animal]]:
        """The next frame and what is in it."""
        width, height = self.cutout.size
        top = self.feet - height
        image = _shadow(self.scene.copy(), self.left, self.feet, width)
        image.paste(self.cutout, (self.left, top), self.cutout)
        box = (self.left / WIDTH, top / HEIGHT, width / WIDTH, height / HEIGHT)
        stride = int(self.rng.integers(20, 70))
        self.left = int(np.clip(self.left + (-stride if self.turned else stride), 10, WIDTH - width - 10))
        return image, [Animal(self.label, box)]


def _blend_light(cutout: Image.Image, scene: Image.Image, night: bool) -> Image.Image:
    """The brightness of a cut-out half-way to the scene's, and a soft edge. By night the flash lights the animal."""
    ground = float(np.asarray(ImageOps.grayscale(scene), np.float32)[scene.height // 2 :].mean())
    alpha = cutout.getchannel("A")
    own = float(np.asarray(ImageOps.grayscale(cutout), np.float32)[np.asarray(alpha) > 128].mean())
    target = own if night else (own + max(ground, 60.0)) / 2
    lit = ImageEnhance.Brightness(cutout.convert("RGB")).enhance(target / max(own, 1.0))
    lit.putalpha(alpha.filter(ImageFilter.GaussianBlur(1)))
    return lit


def _shadow(image: Image.Image, left: int, feet: int, width: int) -> Image.Image:
    mask = Image.new("L", image.size, 0)
    ImageDraw.Draw(mask).ellipse((left + width * 0.05, feet - 22, left + width * 0.95, feet + 12), fill=130)
    image.paste("black", mask=mask.filter(ImageFilter.GaussianBlur(9)))
    return image


def _finish(image: Image.Image, when: datetime, night: bool, camera: Camera, rng: np.random.Generator) -> Image.Image:
    """Light of the hour, sensor noise, and the strip with the time."""
    if night:
        image = ImageOps.grayscale(image).convert("RGB")
        image = _vignette(ImageEnhance.Brightness(image).enhance(0.85))
    else:
        image = ImageEnhance.Brightness(image).enhance(float(rng.uniform(0.9, 1.1)))
    image = add_noise(image, 7 if night else 2.5, rng)
    frame = Image.new("RGB", (WIDTH, HEIGHT), "black")
    frame.paste(image, (0, 0))
    text = f"{_MAKE}   {camera.model}   {when:%Y-%m-%d  %H:%M:%S}   {'IR' if night else ''}"
    ImageDraw.Draw(frame).text((20, HEIGHT - STRIP + 8), text, fill="white", font=ImageFont.load_default(24))
    return frame


def _vignette(image: Image.Image) -> Image.Image:
    y_H1 = np.linspace(-1, 1, image.height, dtype=np.float32)[:, None]
    x_1W = np.linspace(-1, 1, image.width, dtype=np.float32)[None, :]
    light_HW1 = np.clip(1.15 - 0.55 * (x_1W**2 + y_H1**2), 0.1, 1)[..., None]
    return Image.fromarray((np.asarray(image) * light_HW1).astype(np.uint8))


def _jpeg(image: Image.Image, when: datetime, camera: Camera) -> bytes:
    exif = Image.Exif()
    stamp = when.strftime("%Y:%m:%d %H:%M:%S")
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = _MAKE, camera.model
    exif[ExifTags.Base.DateTime] = stamp
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = stamp
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88, exif=exif)
    return buffer.getvalue()


def _write_odd_files(out: Path, real_frame: Path) -> list[dict[str, str]]:
    """What every archive has: a cut-off transfer, an empty file, a note called .jpg; and one real night frame."""
    whole = (out / "gorge-trail" / _FOLDER / "IMG_0001.JPG").read_bytes()
    odd = {
        f"gorge-trail/{_FOLDER}/IMG_9001.JPG": (whole[: len(whole) // 3], "broken"),
        f"dry-wash/{_FOLDER}/IMG_9002.JPG": (b"", "broken"),
        f"north-ridge/{_FOLDER}/notes.jpg": (b"battery changed on 3 May, card 2 of 2\n", "broken"),
        f"orinoquia/{_FOLDER}/IMG_0001.JPG": (real_frame.read_bytes(), "animal"),
    }
    ocelot = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Leopardus", "pardalis")
    rows = []
    for path, (data, kind) in odd.items():
        write_bytes(out / path, data)
        label = dict(zip(RANKS, ocelot, strict=True)) | {"common": "ocelot"} if kind == "animal" else {}
        rows.append(_truth_row(path, path.split("/")[0], kind, label, ("", "", "", "")))
    return rows


def _truth(path: str, deployment: str, animals: list[Animal]) -> list[dict[str, str]]:
    if not animals:
        return [_truth_row(path, deployment, "blank", {}, ("", "", "", ""))]
    return [
        _truth_row(path, deployment, "animal", animal.label, tuple(f"{part:.4f}" for part in animal.box))
        for animal in animals
    ]


def _truth_row(path: str, deployment: str, kind: str, label: dict[str, str], box: tuple[Any, ...]) -> dict[str, str]:
    names = {name: label.get(name, "") for name in (*RANKS, "common")}
    place = dict(zip(("x", "y", "width", "height"), box, strict=True))
    # `photo` is the picture that was cut out, as the sample photos name it; blank for a real frame and a blank one.
    photo = {"photo": label.get("path", "")}
    return {"path": path, "deployment": deployment, "kind": kind, **names, **place, **photo}

"""A folder of drawn photos with labels, small enough for a test and of the same form as the sample photos."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from trygon.taxonomy.taxon import RANKS

_GENERA = ("Panthera", "Vulpes", "Turdus", "Corvus", "Quercus", "Bufo")
_EPITHETS = ("prima", "secunda", "tertia", "quarta")


def draw_photo(path: Path, hue: int, cutout: bool, size: tuple[int, int] = (120, 90)) -> None:
    """Write a picture: an ellipse of a hue on nothing (PNG with alpha), or on noise (JPEG)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = Image.new("HSV", (1, 1), (hue % 256, 200, 200)).convert("RGB").getpixel((0, 0))
    if cutout:
        image = Image.new("RGBA", size)
    else:
        noise_HWC = np.random.default_rng(hue).integers(0, 120, (size[1], size[0], 3), np.uint8)
        image = Image.fromarray(noise_HWC)
    ImageDraw.Draw(image).ellipse((size[0] // 5, size[1] // 5, 4 * size[0] // 5, 4 * size[1] // 5), fill=colour)
    image.save(path)


def write_labels(folder: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write labels.csv."""
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", *RANKS, "common", "license", "author"], restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_photo_folder(folder: Path, photos_per_species: int = 2) -> list[dict[str, str]]:
    """24 species in six genera, half of the photos cut-outs, and one photo at genus rank; the label rows."""
    rows = []
    for number, (genus, epithet) in enumerate((genus, epithet) for genus in _GENERA for epithet in _EPITHETS):
        for copy in range(photos_per_species):
            cutout = (number + copy) % 2 == 0
            path = f"{genus}/{epithet}-{copy}.{'png' if cutout else 'jpg'}"
            draw_photo(folder / path, 41 * number + copy, cutout)
            lineage = ("Animalia", "Phylum", "Classis", "Ordo", f"{genus}dae", genus, epithet)
            credit = {"common": f"{epithet} {genus}", "license": "CC0-1.0", "author": "drawn"}
            rows.append({"path": path, **dict(zip(RANKS, lineage, strict=True)), **credit})
    draw_photo(folder / "genus.jpg", 250, cutout=False)
    rows.append(rows[0] | {"path": "genus.jpg", "genus": "Solitaria", "family": "Solidae", "species": ""})
    write_labels(folder, rows)
    return rows

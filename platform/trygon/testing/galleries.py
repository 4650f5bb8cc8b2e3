"""A tiny gallery of drawn pictures, as `trygon build-gallery` writes it."""

import csv
from collections.abc import Sequence
from pathlib import Path

from trygon.data.sources.folder import Folder
from trygon.gallery.building import Credit, build_gallery
from trygon.lease import Hold
from trygon.models.encoders import find_encoder
from trygon.models.folder import describe
from trygon.taxonomy.taxon import RANKS, Taxon
from trygon.testing.photos import draw_photo
from trygon.testing.served import Served

NUM_EACH = 3


def write_tiny_gallery(root: Path, served: Served, taxa: Sequence[Taxon], first: bytes) -> Path:
    """`gallery/` below a folder, made by the served model: of each taxon three pictures, the very first of them given.
    The folder itself."""
    rows = []
    for place, taxon in enumerate(taxa):
        for copy in range(NUM_EACH):
            path = f"{place}-{copy}.jpg"
            draw_photo(root / "pictures" / path, 90 * place + 7 * copy, cutout=False, size=(400, 240))
            credit = {"license": "CC-BY-4.0", "author": "the author"}
            link = {"source_url": f"https://example.org/{place}-{copy}"}
            lineage = dict(zip(RANKS, taxon.lineage, strict=True))
            rows.append({"path": path, **lineage, "common": taxon.common, **credit, **link})
    (root / "pictures" / "0-0.jpg").write_bytes(first)
    with (root / "pictures" / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    choice = find_encoder("torch", describe(str(served.model_folder)))
    source = Folder(str(root / "pictures"))
    build_gallery(root / "gallery", source, source.records(), choice, Credit(), Hold())
    return root / "gallery"

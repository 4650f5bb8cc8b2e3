"""A finished run folder of the small archive, written without detecting or encoding anything.

Its boxes are where the animals are, and its vectors are made up, so that each taxon has a direction of its own.
"""

from pathlib import Path
from typing import Any

import numpy as np

from trygon.archive.inputs.listing import Archive, write_listing
from trygon.archive.inputs.media import is_media
from trygon.archive.media.exif import read_header
from trygon.archive.run_folder.labelling import Naming, finish
from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.run import SUMMARY, Run
from trygon.data.images import BadImage, decode
from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.lease import Hold
from trygon.schemas import DEPLOYMENT
from trygon.storage import join, write_json
from trygon.tables import write_table
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.archives import write_tiny_archive

_MAMMAL = ("Animalia", "Chordata", "Mammalia")
_CARNIVORE = (*_MAMMAL, "Carnivora")
TREE = TaxonTree.from_taxa(
    [
        Taxon((*_CARNIVORE, "Canidae", "Vulpes", "vulpes"), "red fox"),
        Taxon((*_CARNIVORE, "Canidae", "Vulpes", "lagopus"), "Arctic fox"),
        Taxon((*_CARNIVORE, "Canidae", "Canis", "lupus"), "wolf"),
        Taxon((*_CARNIVORE, "Felidae", "Lynx", "lynx"), "Eurasian lynx"),
        Taxon((*_MAMMAL, "Artiodactyla", "Cervidae", "Capreolus", "capreolus"), "roe deer"),
        Taxon(("Animalia", "Chordata", "Aves", "Passeriformes", "Corvidae", "Corvus", "corax"), "raven"),
    ]
)
DIM = 16


def bank() -> LabelBank:
    """A LabelBank of the few taxa: each points along one of the first dimensions."""
    return LabelBank(TREE, np.eye(len(TREE), DIM, dtype=np.float32), 20.0, "some-model", "digest", TextType.SCI)


def write_tiny_run(root: Path, num_frames: int = 6) -> Run:
    """`archive/`, `labels/` and `run/` below a folder: every other burst a red fox, the others a roe deer, blanks
    between, a person in the first frame of camera b."""
    write_tiny_archive(root / "archive", num_frames)
    bank().save(root / "labels")
    archive, folder = Archive(str(root / "archive")), root / "run"
    listing = write_listing(archive, folder, Hold())
    files = [file for file in archive.files() if is_media(file.path)]
    names = [taxon.common for taxon in TREE.taxa]
    Parts(folder).commit(0, [_row(archive, file, names) for file in files])
    about = {"model": "some-model", "num_ignored": listing.num_ignored, "num_label_taxa": len(TREE), "detector": None}
    media = Parts(folder).media().sort_by("path")
    run = finish(folder, media, Naming(Classifier(bank(), floor=0.6)), about, Hold())
    config = {"archive": str(root / "archive"), "labels": str(root / "labels"), "model": "some-model"}
    defaults = {
        "images": None,
        "deployments": None,
        "time_zone": "+00:00",
        "people": "blur",
        "event_gap": 60.0,
        "confidence_floor": 0.6,
    }
    write_json(join(folder, "config.json"), config | defaults)
    write_table(join(folder, "deployments.parquet"), DEPLOYMENT.empty_table())
    write_json(join(folder, SUMMARY), run.summary)
    return Run.open(folder)


def _row(archive: Archive, file: Any, names: list[str]) -> dict[str, Any]:
    data = archive.read(file.path)
    header = read_header(data)
    row = {"media_id": file.media_id, "path": file.path, "deployment": file.deployment, "bytes": file.bytes}
    row |= {"timestamp": header.timestamp, "width": header.width, "height": header.height, "detections": []}
    try:
        pixels = np.asarray(decode(data))
    except BadImage as error:
        return row | {"failure": error.reason}
    bright = np.argwhere(pixels.mean(2) > 128)
    if not len(bright):
        return row
    (top, left), (bottom, right) = bright.min(0), bright.max(0) + 1
    box = {"x": left / 320, "y": top / 240, "width": (right - left) / 320, "height": (bottom - top) / 240}
    number = int(Path(file.path).stem[-4:])
    noise = np.random.default_rng(file.media_id % 2**32).normal(0, 0.05, DIM)
    person = "/100EK113/IMG_0000" in f"/{file.path}" and file.deployment == "b"
    # A person looks like none of the taxa.
    place = DIM - 1 if person else names.index("red fox" if number // 3 % 2 == 0 else "roe deer")
    vector = np.eye(DIM)[place] + noise
    about = {"detection_id": file.media_id + 1, "media_id": file.media_id, "confidence": 0.9}
    vector = (vector / np.linalg.norm(vector)).astype(np.float16)
    detection = about | box | {"category": "person" if person else "animal", "vector": vector}
    return row | {"detections": [detection]}

"""Runs named and pooled by the real thing, from boxes whose vectors say what they look like: no picture, no model."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from trygon.archive.run_folder.labelling import Naming, finish
from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.run import SUMMARY, Run
from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.lease import Hold
from trygon.storage import write_json
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree

NOON = datetime(2024, 5, 31, 12)
_CARNIVORE = ("Animalia", "Chordata", "Mammalia", "Carnivora")
TREE = TaxonTree.from_taxa(
    [
        Taxon((*_CARNIVORE, "Felidae", "Panthera", "leo"), "lion"),
        Taxon((*_CARNIVORE, "Felidae", "Panthera", "onca"), "jaguar"),
        Taxon((*_CARNIVORE, "Canidae", "Canis", "lupus"), "wolf"),
        Taxon(("Animalia", "Chordata", "Mammalia", "Primates", "Hominidae", "Homo", "sapiens"), "human"),
    ]
)
BANK = LabelBank(TREE, np.eye(4, dtype=np.float32), 10.0, "some-model", "digest", TextType.SCI)
PLACE = {taxon.common: place for place, taxon in enumerate(TREE.taxa)}

Box = dict[str, Any]


def box(left: float = 0.1, category: str = "animal", confidence: float = 0.9, **weights: float) -> Box:
    """A box whose vector has these similarities to the labels."""
    vector = np.zeros(4, np.float16)
    for name, weight in weights.items():
        vector[PLACE[name]] = weight
    size = {"y": 0.2, "width": 0.2, "height": 0.2}
    return {"x": left, "category": category, "confidence": confidence, "vector": vector} | size


def write_burst(
    folder: Path,
    *frames: Sequence[Box],
    gap: int = 1,
    part_size: int = 2,
    naming: Naming | None = None,
    burst: int | None = None,
) -> Run:
    """A finished run of these frames, `gap` seconds apart; the boxes of the first one have the ids 1000, 1001, ...
    After every `burst` frames an hour passes."""
    rows = []
    for number, boxes in enumerate(frames):
        about = {"media_id": number, "path": f"{number:04d}.jpg", "deployment": "a", "bytes": 9}
        pauses = number // burst if burst else 0
        time = {"timestamp": NOON + timedelta(hours=pauses, seconds=number * gap)}
        found = [each | {"media_id": number, "detection_id": 1000 * (number + 1) + n} for n, each in enumerate(boxes)]
        rows.append(about | time | {"detections": found})
    parts = Parts(folder)
    for start in range(0, len(rows), part_size):
        parts.commit(start // part_size, rows[start : start + part_size])
    run = finish(folder, parts.media(), naming or Naming(Classifier(BANK)), {"model": "some-model"}, Hold())
    write_json(folder / SUMMARY, run.summary)
    return run

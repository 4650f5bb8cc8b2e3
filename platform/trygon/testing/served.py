"""A tiny model with its labels, as folders that a server is given, and the model itself to compare answers with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trygon.labelling.bank import LabelBank
from trygon.models.model import Model, load_model
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.tiny import TINY_SIDE, write_tiny_model

TAXA = [
    Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Vulpes", "vulpes"), "Red Fox"),
    Taxon(("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Canis", "lupus"), "Gray Wolf"),
    Taxon(("Animalia", "Chordata", "Aves", "Passeriformes", "Corvidae", "Corvus", "corax"), "Common Raven"),
    Taxon(("Plantae", "Tracheophyta", "Magnoliopsida", "Fagales", "Fagaceae", "Quercus", "robur"), "English Oak"),
]

SETTINGS: dict[str, Any] = {
    "checklists": {},
    "host": "127.0.0.1",
    "port": 0,
    "triton": "127.0.0.1:9",
    "replicas": (1, 1),
    "scale_up_s": 30,
    "scale_down_s": 600,
    "encoder": "torch",
}
"""What the launcher is told beside what to serve. No Triton is there."""


@dataclass(frozen=True)
class Served:
    """Folders as a user has them, and the model as it runs in this process."""

    model_folder: Path
    labels_folder: Path
    model: Model


def write_served(folder: Path, side: int = TINY_SIDE) -> Served:
    """Write the model and its labels."""
    model = load_model(write_tiny_model(folder / "model", side=side), "cpu")
    LabelBank.build(TaxonTree.from_taxa(TAXA), model, TextType.TAXON).save(folder / "labels")
    return Served(folder / "model", folder / "labels", model)

"""What the tests of labelling share: a small model with its labels, and a bucket on S3."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from trygon.testing.commands import told
from trygon.testing.detectors import write_tiny_detector
from trygon.testing.s3 import s3_server, using
from trygon.testing.tiny import write_tiny_model

TAXA = """kingdom,phylum,class,order,family,genus,species,common
Animalia,Chordata,Mammalia,Carnivora,Felidae,Panthera,leo,lion
Animalia,Chordata,Mammalia,Carnivora,Felidae,Panthera,onca,jaguar
Animalia,Chordata,Mammalia,Carnivora,Canidae,Canis,lupus,wolf
Animalia,Chordata,Aves,Passeriformes,Corvidae,Corvus,corax,raven
Plantae,Tracheophyta,Magnoliopsida,Fagales,Fagaceae,Quercus,robur,oak
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model/, detector/, taxa.csv and labels/."""
    root = tmp_path_factory.mktemp("label")
    write_tiny_model(root / "model")
    write_tiny_detector(root / "detector")
    (root / "taxa.csv").write_text(TAXA)
    words = ["build-labels", "--model", "model", "--taxa", "taxa.csv", "--out", "labels", "--empty-clade"]
    built = told(*words, cwd=root)
    assert built.returncode == 0, built.stderr
    return root


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A bucket on S3, for this process and those that it starts."""
    with s3_server("field") as server, using(server):
        monkeypatch.setenv("TRYGON_CACHE", str(tmp_path / "cache"))
        yield "s3://field"

"""What the tests of jobs share: the local Ray; for labelling a small model with its labels, and a bucket on S3."""

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

_HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """The local Ray that the tests of this folder share, file after file. Mark a test that asks for it with
    `@pytest.mark.ray`."""
    from trygon.cluster.local import start_ray

    start_ray()
    # Only now: Ray Data reads the settings of its log when it is imported.
    from ray.data import DataContext

    # What the jobs of one file set in it is not to reach those of the next one.
    with DataContext.current(DataContext.get_current().copy()):
        yield


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End the shared Ray behind the last test of this folder: while it idles it takes a twentieth of a core. The scope
    `package` would end it only with the session, for the folder is no package."""
    if nextitem is None or not nextitem.path.is_relative_to(_HERE):
        import ray

        ray.shutdown()


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

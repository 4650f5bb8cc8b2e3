"""What the serving tests share: a tiny model with labels, a Triton with it, the application before it, a photo, a
browser."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
import uvicorn
from PIL import Image
from selenium import webdriver
from starlette.testclient import TestClient

from trygon.archive.run_folder.sessions import bind
from trygon.labelling.bank import LabelBank
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.tables import TAXA_SCHEMA
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.browser import browser
from trygon.testing.runs import write_tiny_run
from trygon.testing.served import TAXA, Served, write_served
from trygon_serving.api import make_api
from trygon_serving.args import AppArgs
from trygon_serving.catalogue import VersionSpec, Weights
from trygon_serving.embedded import Embedded
from trygon_serving.service import Service


@contextmanager
def _over_http(args: AppArgs) -> Iterator[str]:
    """The application behind a real HTTP server, in a thread of this process."""
    server = uvicorn.Server(uvicorn.Config(make_api(Service(args)), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="session")
def over_http() -> Callable[[AppArgs], AbstractContextManager[str]]:
    """Puts an application behind a real HTTP server; its address."""
    return _over_http


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return write_served(tmp_path_factory.mktemp("serving"))


@pytest.fixture(scope="session")
def photo() -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (24, 40, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((400, 240)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def photo_file(photo: bytes, tmp_path: Path) -> Path:
    """The photo as people have it."""
    (tmp_path / "fox.jpg").write_bytes(photo)
    return tmp_path / "fox.jpg"


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A real browser, of which nothing is left for another module."""
    with browser(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


@pytest.fixture(scope="session")
def triton(tiny: Served) -> Iterator[Embedded]:
    """The real server with the tiny model, shared by all tests that only ask it."""
    with Embedded.start(Weights.of(str(tiny.model_folder))) as server:
        server.wait_ready()
        yield server


@pytest.fixture(scope="session")
def args(triton: Embedded, tiny: Served, tmp_path_factory: pytest.TempPathFactory) -> AppArgs:
    """Two label sets, a checklist, and a run whose vectors are as wide as the model's."""
    folder = tmp_path_factory.mktemp("args")
    tree = TaxonTree.from_taxa(TAXA[:2])
    LabelBank.build(tree, tiny.model, TextType.COM).save(folder / "dogs")
    write_checklist(folder / "island.csv", ["Vulpes vulpes", "Corvus corax"])
    run = write_tiny_run(folder)
    bind(run.folder, {"model": tiny.model.digest, "encoder": "torch"})
    labels = {"all": str(tiny.labels_folder), "dogs": str(folder / "dogs")}
    return AppArgs(
        runs={"season": str(run.folder)},
        models={"tiny": {"v1": VersionSpec(model=str(tiny.model_folder), labels=labels)}},
        triton=triton.grpc,
        checklists={"island": str(folder / "island.csv")},
    )


@pytest.fixture
def args_without_triton(tiny: Served) -> AppArgs:
    """What is not answered for want of an encoder."""
    version = VersionSpec(model=str(tiny.model_folder), labels={"all": str(tiny.labels_folder)})
    return AppArgs(models={"tiny": {"v1": version}}, triton="127.0.0.1:1")


@pytest.fixture(scope="session")
def api(args: AppArgs) -> Iterator[TestClient]:
    """The application in this process, in front of the real Triton."""
    with TestClient(make_api(Service(args))) as client:
        yield client


def write_checklist(path: Path, names: list[str]) -> None:
    """A checklist with binomials alone, as they come from elsewhere."""
    pairs = [name.split() for name in names]
    blank = pa.array([""] * len(pairs))
    columns = dict.fromkeys(TAXA_SCHEMA.names, blank)
    columns |= {"genus": pa.array([genus for genus, _ in pairs]), "species": pa.array([it for _, it in pairs])}
    pyarrow.csv.write_csv(pa.table(columns), path)

"""Several models, and versions of one that come and go under load: the application before a real Triton of its own."""

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton_client
from starlette.testclient import TestClient

from trygon.data.images import preprocess
from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.limits import Limits
from trygon.models.folder import WEIGHTS_NAME
from trygon.models.model import load_model
from trygon.models.triton_config import ENCODER
from trygon.storage import digest_file
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.processes import family
from trygon.testing.served import TAXA, Served
from trygon.testing.tiny import write_tiny_model
from trygon_serving.api import make_api
from trygon_serving.args import AppArgs
from trygon_serving.catalogue import VersionSpec, Weights, read_catalogue, write_catalogue
from trygon_serving.embedded import Embedded
from trygon_serving.rollout import add_version, remove_version, set_share
from trygon_serving.service import Service

OverHttp = Callable[[AppArgs], AbstractContextManager[str]]

pytestmark = pytest.mark.slow

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Other weights, with labels of their own."""
    folder = tmp_path_factory.mktemp("newer")
    model = load_model(write_tiny_model(folder / "model", 1), "cpu")
    LabelBank.build(TaxonTree.from_taxa(TAXA[1:]), model, TextType.TAXON).save(folder / "labels")
    return Served(folder / "model", folder / "labels", model)


@pytest.fixture(scope="module")
def own_triton(tiny: Served) -> Iterator[Embedded]:
    """A server whose models come and go. It starts with the tiny one."""
    with Embedded.start(Weights.of(str(tiny.model_folder))) as server:
        server.wait_ready()
        yield server


def _spec(served: Served, name: str = "names") -> VersionSpec:
    return VersionSpec(model=str(served.model_folder), labels={name: str(served.labels_folder)})


def _wait(what: str, done: Callable[[], bool], told: Callable[[], str] = str, timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, f"{what}: {told()}"
        time.sleep(0.2)


def _versions(client: httpx.Client) -> dict[str, dict[str, Any]]:
    cards = client.get("/v1/models").raise_for_status().json()
    return {f"{it['model']['name']}/{it['model']['version']}": it for it in cards}


def test_models_side_by_side(own_triton: Embedded, tiny: Served, newer: Served, photo: bytes) -> None:
    args = AppArgs(
        models={"small": {"v1": _spec(tiny, "old")}, "other": {"v1": _spec(newer, "new")}},
        triton=own_triton.grpc,
        repository=str(own_triton.repository),
    )
    with TestClient(make_api(Service(args))) as api:
        _wait("both are ready", lambda: all(it["ready"] for it in api.get("/v1/models").json()))
        assert api.get("/readyz").status_code == 200

        def ask(**options: str) -> Any:
            return api.post("/v1/classify", params=options, content=photo, headers=JPEG)

        for options, served in (
            ({}, tiny),
            ({"model": "small"}, tiny),
            ({"model": "other"}, newer),
            ({"model": "other/v1"}, newer),
            ({"labels": "new"}, newer),
        ):
            reply = ask(**options).raise_for_status().json()
            assert reply["model"]["digest"] == served.model.digest
            assert reply["labels"]["digest"] == LabelBank.load(served.labels_folder).tree.digest
        refused = ask(model="small", labels="new")
        assert refused.status_code == 422
        assert refused.json()["detail"] == "'new' is not one of old; it is one of model=other"
        vectors = [
            api.post("/v1/embed", params={"model": model}, content=photo, headers=JPEG).json()["embeddings"][0][
                "vector"
            ]
            for model in ("small", "other")
        ]
        for served, vector in zip((tiny, newer), vectors, strict=True):
            image_BCHW = preprocess(photo, served.model.side, served.model.resize_mode)[None]
            np.testing.assert_allclose([vector], served.model.encode_images(image_BCHW), atol=1e-4)
        assert api.get("/v1/taxa", params={"search": "fox", "model": "small"}).json()["total"] == 1
        assert api.get("/v1/taxa", params={"search": "fox", "model": "other"}).json()["total"] == 0
        sets = api.get("/v1/label-sets").json()["label_sets"]
        assert [(it["model"], it["name"], it["num_taxa"]) for it in sets] == [("small", "old", 4), ("other", "new", 3)]
        replies: list[httpx.Response] = []

        def is_named() -> bool:
            replies.append(ask(model="other", names="a tent"))
            return replies[-1].status_code != 503

        _wait("its own text encoder is loaded", is_named, lambda: replies[-1].text)
        assert replies[-1].raise_for_status().json()["model"]["name"] == "other"


@dataclass
class _Load:
    """Requests that never cease, and what came back; `phase` is what the operator waits for."""

    address: str
    photo: bytes
    phase: str = "begin"
    replies: list[tuple[str, httpx.Response]] = field(default_factory=list)

    async def run(self, operator: Callable[[], None]) -> None:
        """Four at a time, until the operator is done."""
        async with httpx.AsyncClient(timeout=60) as client:
            operating = asyncio.create_task(asyncio.to_thread(operator))
            await asyncio.gather(*(self._ask(client, operating) for _ in range(4)))
            await operating

    async def _ask(self, client: httpx.AsyncClient, until: "asyncio.Task[None]") -> None:
        while not until.done():
            phase = self.phase
            reply = await client.post(f"{self.address}/v1/classify?floor=0", content=self.photo, headers=JPEG)
            self.replies.append((phase, reply))
            await asyncio.sleep(0.05)  # the CPUs are for what Triton loads

    def mark(self, phase: str, num_replies: int = 40) -> None:
        """Go on once so many requests were sent in a phase and answered; it ends there, before anything is changed."""
        self.phase = phase
        _wait(phase, lambda: sum(it == phase for it, _ in self.replies) >= num_replies)
        self.phase = "between"

    def answered_by(self, phase: str) -> Counter[str]:
        """Which versions answered what was sent in a phase."""
        return Counter(reply.json()["model"]["version"] for it, reply in self.replies if it == phase)


def _expected(served: Served, photo: bytes) -> dict[str, float]:
    image_BCHW = preprocess(photo, served.model.side, served.model.resize_mode)[None]
    classifier = Classifier(LabelBank.load(served.labels_folder), floor=0, k=4)
    (answer,) = classifier.classify(served.model.encode_images(image_BCHW))
    return {taxon.scientific: probability for taxon, probability in answer.top}


def test_a_version_comes_gets_requests_is_rolled_back_and_goes_and_no_request_is_lost(
    over_http: OverHttp, own_triton: Embedded, tiny: Served, newer: Served, photo: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "models.json"
    add_version(file, "field/v1", _spec(tiny))
    broken = _broken(newer, tmp_path)
    args = AppArgs(
        models=str(file),
        triton=own_triton.grpc,
        repository=str(own_triton.repository),
        limits=Limits(answer_s=5),
    )
    before = _tritons(own_triton)
    with over_http(args) as address, httpx.Client(base_url=address, timeout=30) as client:
        _wait("v1 is ready", lambda: client.get("/readyz").status_code == 200)
        load = _Load(address, photo)

        def operate() -> None:
            load.mark("v1 alone")
            add_version(file, "field/v2", _spec(newer))
            _wait("v2 is loaded", lambda: _versions(client).get("field/v2", {}).get("ready", False))
            load.mark("v2 without a share")
            set_share(file, "field/v2=0.3")
            _wait("v2 has a share", lambda: _versions(client)["field/v2"]["share"] > 0)
            load.mark("canary", 120)
            set_share(file, "field/v1=1")
            _wait("v2 has none", lambda: _versions(client)["field/v2"]["share"] == 0)
            load.mark("rolled back")
            # A version that is not good never takes the place of one that is, even where all is given to it at once.
            catalogue = read_catalogue(file)
            write_catalogue(file, {"field": {"v3": broken}})
            refused = "Triton cannot load it: "
            _wait("v3 has failed", lambda: refused in (_versions(client).get("field/v3", {}).get("problem") or ""))
            load.mark("v3 is broken")
            told = _versions(client)
            assert not told["field/v3"]["ready"]
            assert told["field/v1"]["ready"]
            write_catalogue(file, catalogue)
            set_share(file, "field/v2=1")
            remove_version(file, "field/v1")
            _wait("v1 is gone", lambda: "field/v1" not in _versions(client))
            load.mark("v2 alone")
            _wait("Triton has let go of v1", lambda: _held(own_triton) == {f"image_encoder-{newer.model.digest[:12]}"})
            load.mark("the end")

        asyncio.run(load.run(operate))
        figures = client.get("/metrics").text
    # Triton was seen to end as it let go of a model, on a busy machine; while it starts again, nobody is answered.
    allowed = {200} if _tritons(own_triton) == before else {200, 503}
    assert {reply.status_code for _, reply in load.replies} <= allowed
    load.replies = [(phase, reply) for phase, reply in load.replies if reply.status_code == 200]
    expected = {"v1": _expected(tiny, photo), "v2": _expected(newer, photo)}
    of = {"v1": tiny, "v2": newer}
    for _, reply in load.replies:
        found = reply.json()
        version = found["model"]["version"]
        assert found["model"]["digest"] == of[version].model.digest
        assert found["labels"]["digest"] == LabelBank.load(of[version].labels_folder).tree.digest
        top = {it["scientific"]: it["probability"] for it in found["answers"][0]["top"]}
        assert top == pytest.approx(expected[version], abs=1e-3)
    for phase in ("v1 alone", "v2 without a share", "rolled back"):
        assert set(load.answered_by(phase)) == {"v1"}, phase
    assert set(load.answered_by("v3 is broken")) <= {"v1", "v2"}
    assert set(load.answered_by("v2 alone")) == set(load.answered_by("the end")) == {"v2"}
    canary = load.answered_by("canary")
    # 120 draws and more: fewer than 10 or more than 70 of 100 would come once in billions of runs.
    assert 0.1 < canary["v2"] / canary.total() < 0.7
    for version in of:
        assert f'trygon_model_requests_total{{model="field",status="200",version="{version}"}}' in figures


def _tritons(server: Embedded) -> list[psutil.Process]:
    return [process for process in family(server.guard.pid) if process.name() == "tritonserver"]


def _broken(served: Served, folder: Path) -> VersionSpec:
    """A model whose weights were cut off, with labels that were built with just that."""
    shutil.copytree(served.model_folder, folder / "broken")
    weights = folder / "broken" / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:500])
    bank = LabelBank.load(served.labels_folder)
    replace(bank, model_digest=digest_file(weights)).save(folder / "broken-labels")
    return VersionSpec(model=str(folder / "broken"), labels={"names": str(folder / "broken-labels")})


def _held(server: Embedded) -> set[str]:
    """The image encoders that Triton has in memory; none while it starts again."""
    try:
        with triton_client.InferenceServerClient(server.grpc) as client:
            index: Any = client.get_model_repository_index()
    except triton_client.InferenceServerException:
        return set()
    return {it.name for it in index.models if it.state == "READY" and it.name.startswith(ENCODER)}


def test_a_triton_that_is_started_again_holds_all_versions_again(
    over_http: OverHttp, own_triton: Embedded, tiny: Served, newer: Served, photo: bytes
) -> None:
    """Also where the model that it was first started with is gone from its repository by now."""
    models = {"field": {"v1": _spec(tiny), "v2": _spec(newer)}}
    args = AppArgs(models=models, triton=own_triton.grpc, repository=str(own_triton.repository))
    with over_http(args) as address, httpx.Client(base_url=address, timeout=30) as client:

        def both() -> bool:
            return [it["ready"] for it in _versions(client).values()] == [True, True]

        _wait("both are ready", both)
        for process in _tritons(own_triton):
            process.kill()
            psutil.wait_procs([process], 10)
        seen, refusals = set(), ["none was refused"]

        def is_answered() -> bool:
            reply = client.post("/v1/classify", content=photo, headers=JPEG)
            if reply.status_code == 200:
                seen.add(reply.json()["model"]["version"])
            else:
                assert reply.status_code == 503
                refusals.append(reply.text)
            return reply.status_code == 200

        _wait("it is back", is_answered, lambda: f"{refusals[-1]} {_versions(client)}")
        _wait("both are back", both, lambda: str(_versions(client)))
        for _ in range(40):
            _wait("an answer", is_answered)
        assert seen == {"v1", "v2"}

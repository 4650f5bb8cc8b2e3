"""What is told of models before any Triton is there, and what a changed file does then."""

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from trygon.errors import UserError
from trygon.models.folder import describe
from trygon.models.triton_repository import write_repository
from trygon.testing.served import Served, write_served
from trygon.testing.tiny import write_tiny_model
from trygon_serving.api import make_api
from trygon_serving.args import AppArgs
from trygon_serving.catalogue import Catalogue, VersionSpec, Weights, spec_at, write_catalogue
from trygon_serving.labels import LabelSets
from trygon_serving.models import Models
from trygon_serving.problem import Problem
from trygon_serving.reasons import without_folders
from trygon_serving.repository import Held, Repository
from trygon_serving.service import Service
from trygon_serving.supply import Supply
from trygon_serving.triton import TritonEncoder
from trygon_serving.versions import Version

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return write_served(tmp_path_factory.mktemp("served"))


@pytest.fixture
def file(served: Served, tmp_path: Path) -> Path:
    write_catalogue(tmp_path / "models.json", {"a": {"v1": _spec(served)}})
    return tmp_path / "models.json"


@pytest.fixture
def api(file: Path) -> Iterator[TestClient]:
    with TestClient(make_api(Service(AppArgs(models=str(file), triton="127.0.0.1:1")))) as client:
        yield client


def _spec(served: Served, **changes: Any) -> VersionSpec:
    spec = VersionSpec(model=str(served.model_folder), labels={"names": str(served.labels_folder)})
    return spec.model_copy(update=changes)


def _told(api: TestClient) -> dict[str, dict[str, Any]]:
    return {f"{it['model']['name']}/{it['model']['version']}": it for it in api.get("/v1/models").json()}


def _after(api: TestClient, file: Path, catalogue: Catalogue, place: str) -> dict[str, Any]:
    """What is told of a version once the file holds it and it was looked at."""
    write_catalogue(file, catalogue)
    deadline = time.monotonic() + 30
    while not (card := _told(api).get(place)) or not card["problem"]:
        assert time.monotonic() < deadline, card
        time.sleep(0.05)
    return card


def test_nothing_is_ready_without_a_triton(api: TestClient) -> None:
    card = _told(api)["a/v1"]
    assert (card["ready"], card["problem"], card["share"], card["label_sets"]) == (False, None, 1, ["names"])
    response = api.get("/readyz")
    assert (response.status_code, response.json()["detail"]) == (503, "a is being loaded")
    assert api.get("/v1/label-sets").json() == {"label_sets": [], "checklists": []}
    assert api.post("/v1/classify?model=b", content=b"x", headers={"Content-Type": "image/png"}).status_code == 422


def test_what_is_not_good_is_told_and_what_follows_is_looked_at(
    api: TestClient, served: Served, file: Path, tmp_path: Path
) -> None:
    other = write_tiny_model(tmp_path / "other", 1)
    card = _after(api, file, {"b": {"v1": _spec(served, model=str(other))}}, "b/v1")
    assert "were built with" in card["problem"]
    assert "not with other;" in card["problem"]
    assert "/" not in card["problem"]  # where things lie is nobody's business
    card = _after(api, file, {"c": {"v1": _spec(served, model=str(tmp_path / "none"))}}, "c/v1")
    assert "no such folder" in card["problem"]
    card = _after(api, file, {"d": {"v1": _spec(served, labels={"names": str(tmp_path)})}}, "d/v1")
    assert "not a finished LabelBank" in card["problem"]
    assert list(_told(api)) == ["d/v1"]


def test_a_file_that_is_not_sound_changes_nothing(
    api: TestClient, served: Served, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text("{")
    deadline = time.monotonic() + 30
    while "the models stay as they were" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert list(_told(api)) == ["a/v1"]
    write_catalogue(file, {"a": {"v1": _spec(served), "v2": _spec(served, share=3.0)}})
    while "a/v2" not in (told := _told(api)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [it["share"] for it in told.values()] == [0.25, 0.75]


def test_a_run_is_searched_with_the_encoder_that_made_it(served: Served) -> None:
    """Among versions of the same weights, whatever their shares are."""
    digest, tower = served.model.digest, describe(str(served.model_folder))
    whole, coarse = Weights("m", digest), Weights("m", digest, "openvino-int8", "openvino-int8 1234")
    catalogue: Catalogue = {"a": {"v1": _spec(served, share=9.0), "v2": _spec(served, encoder="openvino-int8")}}

    async def versions() -> list[str | None]:
        supply = Supply(catalogue, Repository("127.0.0.1:1", ""), {}, 1)
        for name, weights in {"v1": whole, "v2": coarse}.items():
            spec, held = catalogue["a"][name], Held(name, tower, weights.runs, ())
            sets = LabelSets(spec.labels, {}, weights)
            supply.versions["a", name] = Version(
                "a", name, spec, weights, sets, held, TritonEncoder("127.0.0.1:1", held.tower.dim)
            )
        models = Models(supply, {})
        asked = [(digest, "torch"), (digest, coarse.runs), (digest, "triton"), ("another", "torch")]
        found = [models.made_with(*it) for it in asked]
        await supply.close()
        return [it and it.name for it in found]

    assert asyncio.run(versions()) == ["v1", "v2", "v1", None]


def test_a_label_set_is_answered_by_who_has_it_and_is_waited_for_while_that_is_loaded(served: Served) -> None:
    folder = str(served.labels_folder)
    old, both = (dict.fromkeys(names, folder) for names in (("old",), ("old", "new")))
    catalogue: Catalogue = {
        "a": {"v1": _spec(served, labels=old), "v2": _spec(served, labels=both, share=0.0)},
        "b": {"v1": _spec(served, labels={"other": folder})},
    }
    weights = Weights.of(str(served.model_folder))
    held = Held("image_encoder", describe(str(served.model_folder)), weights.runs, ())

    async def asked() -> None:
        supply = Supply(catalogue, Repository("127.0.0.1:1", ""), {}, 1)
        models = Models(supply, {})

        def take_in(model: str, name: str) -> None:
            spec = catalogue[model][name]
            sets = LabelSets(spec.labels, {}, weights)
            supply.versions[model, name] = Version(
                model, name, spec, weights, sets, held, TritonEncoder("127.0.0.1:1", held.tower.dim)
            )

        def said(model: str | None, labels: str | None) -> tuple[int, int | None]:
            with pytest.raises(Problem) as caught:
                models.choose(model, labels)
            return caught.value.status, caught.value.retry_after_s

        take_in("a", "v1")
        assert {models.choose("a", it).name for it in (None, "old")} == {"v1"}
        for model, labels in ((None, "new"), ("a", "new"), ("a/v2", "new"), ("a/v2", None), (None, "other")):
            assert said(model, labels) == (503, 2)
        take_in("a", "v2")
        assert {models.choose("a", it).name for it in (None, "old") for _ in range(30)} == {"v1"}
        assert {models.choose(it, "new").name for it in (None, "a", "a/v2")} == {"v2"}
        for model, labels in (("a/v1", "new"), ("a", "other"), (None, "none"), ("b", "old")):
            assert said(model, labels) == (422, None)
        supply.versions["a", "v1"].is_held = False
        assert {models.choose("a", it).name for it in (None, "old", "new")} == {"v2"}
        await supply.close()

    asyncio.run(asked())


def test_replicas_that_share_a_repository_know_what_others_need(tmp_path: Path) -> None:
    mine, other = (Repository("127.0.0.1:1", str(tmp_path)) for _ in range(2))
    mine.note({"a"})
    other.note({"a", "b"})
    assert mine.noted() == {"a", "b"}
    other.note({"b"})
    mine.note(())
    assert mine.noted() == other.noted() == {"b"}
    asyncio.run(other.close())  # one that goes in order needs nothing any more
    assert mine.noted() == set()
    other.note({"b"})
    for note in tmp_path.rglob("*.json"):  # both are long gone
        os.utime(note, (0, 0))
    assert mine.noted() == set()
    assert not list(tmp_path.rglob("*.json"))


def test_weights_by_another_encoder_are_others_and_files_that_are_the_same_stay(tmp_path: Path) -> None:
    spec = VersionSpec(model="model", labels={"names": "labels"}, encoder="openvino-int8:made")
    there = spec_at(spec, tmp_path)
    assert there.encoder == f"openvino-int8:{tmp_path / 'made'}"
    assert not there.is_like(there.model_copy(update={"encoder": "torch"}))
    digest = "0123456789abcdef"
    torch, int8 = Weights("m", digest), Weights("m", digest, there.encoder, "openvino-int8:fedcba")
    assert torch.key == digest != int8.key
    assert torch.suffix != int8.suffix
    model = write_tiny_model(tmp_path / "tiny")
    write_repository(tmp_path / "repository", str(model))
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "repository").rglob("*.p*")}
    write_repository(tmp_path / "repository", str(model))
    assert written == {path: path.stat().st_mtime_ns for path in written}


def test_nothing_is_ready_once_triton_was_not_there_twice(served: Served) -> None:
    weights = Weights.of(str(served.model_folder))
    spec, held = _spec(served), Held("image_encoder", describe(str(served.model_folder)), weights.runs, ())

    async def seen() -> list[bool]:
        supply = Supply({"a": {"v1": spec}}, Repository("127.0.0.1:1", ""), {}, 1)
        sets = LabelSets(spec.labels, {}, weights)
        version = Version("a", "v1", spec, weights, sets, held, TritonEncoder("127.0.0.1:1", held.tower.dim))
        supply.versions["a", "v1"] = version
        seen = [version.is_held]
        for _ in range(2):
            await supply.look(None)
            seen.append(version.is_held)
        await supply.close()
        return seen

    assert asyncio.run(seen()) == [True, True, False]


def test_a_file_that_could_not_be_read_is_tried_again_though_nothing_in_it_changed(served: Served, file: Path) -> None:
    """As where only its mode changes, or a network drive is away for a moment."""
    supply = Supply(str(file), Repository("127.0.0.1:1", ""), {}, 1)
    write_catalogue(file, {"b": {"v1": _spec(served)}})
    content, state = file.read_bytes(), file.stat()

    def put(content: bytes) -> None:
        file.write_bytes(content)
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))

    async def seen() -> list[list[str]]:
        seen: list[list[str]] = []
        for now in (b"x" * len(content), content):
            put(now)
            await supply.look()
            seen.append(list(supply.catalogue))
        await supply.close()
        return seen

    assert asyncio.run(seen()) == [["a"], ["b"]]


def test_a_model_that_is_mended_in_its_place_is_read_again_with_the_file(
    api: TestClient, served: Served, file: Path, tmp_path: Path
) -> None:
    """Before it was ever loaded: its labels were built with the model that comes now."""
    shutil.copytree(write_tiny_model(tmp_path / "other", 1), tmp_path / "model")
    catalogue: Catalogue = {"b": {"v1": _spec(served, model=str(tmp_path / "model"))}}
    assert "were built with" in _after(api, file, catalogue, "b/v1")["problem"]
    shutil.copytree(served.model_folder, tmp_path / "model", dirs_exist_ok=True)
    write_catalogue(file, catalogue)
    deadline = time.monotonic() + 30
    while _told(api)["b/v1"]["problem"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_weights_that_changed_before_they_were_loaded_are_read_again(served: Served, tmp_path: Path) -> None:
    shutil.copytree(served.model_folder, tmp_path / "model")
    spec = _spec(served, model=str(tmp_path / "model"))
    (tmp_path / "repository").mkdir()

    async def seen() -> list[bool]:
        supply = Supply({"a": {"v1": spec}}, Repository("127.0.0.1:1", str(tmp_path / "repository")), {}, 1)
        await supply.start()
        (attempt,) = supply._attempts.values()
        assert attempt.read
        key = attempt.read[0].key

        async def refuse() -> None:
            raise UserError("model changed while it was read")

        supply._loads[key] = asyncio.create_task(refuse())
        await asyncio.sleep(0)
        await supply.look()
        again = supply._attempts["a", "v1"]
        await supply.close()
        return [again is attempt, again.reading is attempt.reading]

    assert asyncio.run(seen()) == [False, False]


@pytest.mark.parametrize("name", ["labels", "my labels"])
def test_of_a_label_set_that_is_not_taken_in_clients_are_told_no_folder(
    served: Served, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / name
    shutil.copytree(served.labels_folder, folder)
    sets = LabelSets({"names": str(folder)}, {}, Weights.of(str(served.model_folder)))
    vectors, card = folder / "vectors.npy", folder / "bank.json"
    vectors.write_bytes(vectors.read_bytes()[:-4] + b"\xff" * 4)
    card.write_bytes(card.read_bytes() + b"\n")
    assert not sets.refresh("names")
    (told,) = sets.cards("m")
    assert told.problem
    assert told.problem.startswith(f"the newer version is not served: the vectors in {name} are damaged")
    assert str(tmp_path) not in told.problem
    assert f"the vectors in {folder} are damaged" in caplog.text


def test_clients_are_told_no_address() -> None:
    spec = VersionSpec(
        model="s3://b/models/m?scheme=http&endpoint_override=10.0.0.5:9000", labels={"names": "/srv/labels/park"}
    )
    assert spec.told == "m"
    assert spec.model_copy(update={"model": "hf-hub:imageomics/bioclip"}).told == "hf-hub:imageomics/bioclip"
    told = without_folders("/srv/labels/park/bank.json is damaged; it was built with " + spec.model)
    assert told == "bank.json is damaged; it was built with m"
    assert without_folders("/my labels/park is damaged", ["/my labels/park"]) == "park is damaged"
    assert without_folders("Triton is there and/or not; v1/v2") == "Triton is there and/or not; v1/v2"

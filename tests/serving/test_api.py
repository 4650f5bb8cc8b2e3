"""What the endpoint answers: the application in this process, in front of a real Triton with a tiny model."""

import asyncio
import base64
import re
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from trygon.data.images import preprocess
from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.limits import Limits
from trygon.testing.dashboards import queries, told
from trygon.testing.served import Served
from trygon_serving.api import make_api
from trygon_serving.args import AppArgs
from trygon_serving.embedded import Embedded
from trygon_serving.service import Service
from trygon_serving.wire import Options

pytestmark = pytest.mark.slow

JPEG = {"Content-Type": "image/jpeg"}


def _vector(tiny: Served, photo: bytes) -> np.ndarray:
    return tiny.model.encode_images(preprocess(photo, tiny.model.side, tiny.model.resize_mode)[None])


def _probabilities(tiny: Served, photo: bytes, text_ND: np.ndarray, scale: float) -> np.ndarray:
    logits = scale * (_vector(tiny, photo) @ np.asarray(text_ND, np.float32).T)[0]
    exponents = np.exp(logits - logits.max())
    return exponents / exponents.sum()


def _ask(api: TestClient, photo: bytes, **options: Any) -> dict[str, Any]:
    body = {"images": [base64.b64encode(photo).decode()], **options}
    while (response := api.post("/v1/classify", json=body)).status_code == 503 and "names" in options:
        time.sleep(1)  # the text encoder is being loaded
    return response.raise_for_status().json()


def test_answer_is_the_one_of_the_library(api: TestClient, tiny: Served, photo: bytes) -> None:
    bank = LabelBank.load(tiny.labels_folder)
    expected = Classifier(bank, floor=0.3, k=3).classify(_vector(tiny, photo))[0]
    reply = api.post("/v1/classify?k=3&floor=0.3", content=photo, headers=JPEG).raise_for_status().json()
    (answer,) = reply["answers"]
    for (taxon, probability), clade in zip(expected.ranks, answer["lineage"].values(), strict=True):
        assert clade["name"] == taxon.scientific
        assert clade["probability"] == pytest.approx(probability, abs=1e-3)
    assert [it["scientific"] for it in answer["top"]] == [taxon.scientific for taxon, _ in expected.top]
    assert (answer["taxon"] or {}).get("scientific") == (expected.taxon.scientific if expected.taxon else None)
    assert reply["model"] == {
        "name": "tiny", "version": "v1", "ref": tiny.model_folder.name, "digest": tiny.model.digest
    }  # fmt: skip
    labels = {"name": "all", "num_taxa": 4, "text_type": "taxon", "digest": bank.tree.digest}
    assert reply["labels"] == labels
    assert set(reply["timings_ms"]) == {"names", "decode", "encode", "classify", "total"}


def test_all_forms_of_a_request_give_the_same_answer(api: TestClient, photo: bytes) -> None:
    files = [("image", ("fox.jpg", photo, "image/jpeg")), ("image", ("again.jpg", photo, "image/jpeg"))]
    form = api.post("/v1/classify", files=files, data={"k": "2", "clade": ["Canidae"]}).raise_for_status().json()
    body = api.post("/v1/classify?k=2&clade=Canidae", content=photo, headers=JPEG).raise_for_status().json()
    coded = _ask(api, photo, k=2, clade=["Canidae"])
    assert len(form["answers"]) == 2
    for answer in (*form["answers"], *coded["answers"]):
        for ours, theirs in zip(answer["top"], body["answers"][0]["top"], strict=True):
            assert ours == {**theirs, "probability": pytest.approx(theirs["probability"], abs=1e-5)}


@pytest.mark.parametrize(
    ("options", "species"),
    [
        ({"clade": ["Carnivora"]}, {"Vulpes vulpes", "Canis lupus"}),
        ({"clade": ["Canis", "Plantae"]}, {"Canis lupus", "Quercus robur"}),
        ({"clade": ["Animalia/Chordata/Aves"]}, {"Corvus corax"}),
        ({"labels": "dogs"}, {"Vulpes vulpes", "Canis lupus"}),
    ],
)
def test_answers_keep_to_what_was_asked(
    api: TestClient, photo: bytes, options: dict[str, Any], species: set[str]
) -> None:
    reply = _ask(api, photo, **options)
    (answer,) = reply["answers"]
    assert {it["scientific"] for it in answer["top"]} == species
    assert sum(it["probability"] for it in answer["top"]) == pytest.approx(1, abs=1e-4)
    assert reply["labels"]["num_taxa"] == len(species)
    assert _ask(api, photo, **options)["answers"][0]["top"] == answer["top"]  # from what is kept of the first time


def test_a_checklist_changes_no_probability_and_names_nothing_else(
    api: TestClient, tiny: Served, photo: bytes
) -> None:
    """What `trygon label --checklist` gives: an answer outside moves up to the deepest clade that holds one inside."""
    bank = LabelBank.load(tiny.labels_folder)
    named = [taxon.scientific for taxon in bank.tree.taxa]
    allowed_N = np.asarray([name in ("Vulpes vulpes", "Corvus corax") for name in named])
    for clade, rows in (([], slice(0, 4)), (["Mammalia"], slice(*_span(named, "Canis lupus", "Vulpes vulpes")))):
        part = bank.select(np.arange(4)[rows])
        (expected,) = Classifier(part, floor=0, allowed_N=allowed_N[rows]).classify(_vector(tiny, photo))
        (answer,) = _ask(api, photo, checklist="island", clade=clade, floor=0)["answers"]
        (free,) = _ask(api, photo, clade=clade, floor=0)["answers"]
        assert answer["top"] == free["top"]
        assert answer["lineage"] == free["lineage"]
        assert (answer["taxon"] or {}).get("scientific") == (expected.taxon.scientific if expected.taxon else None)
        assert answer["decided_by"] == expected.reason
        assert free["decided_by"] == "classifier"


def _span(names: list[str], *some: str) -> tuple[int, int]:
    places = sorted(names.index(it) for it in some)
    return places[0], places[-1] + 1


def test_a_rank_bounds_lineage_taxon_and_top(api: TestClient, photo: bytes) -> None:
    (answer,) = _ask(api, photo, rank="class", floor=0)["answers"]
    assert list(answer["lineage"]) == ["kingdom", "phylum", "class"]
    assert answer["taxon"]["rank"] == "class"
    assert {it["scientific"] for it in answer["top"]} == {"Mammalia", "Aves", "Magnoliopsida"}
    assert sum(it["probability"] for it in answer["top"]) == pytest.approx(1, abs=1e-4)


def test_names_in_any_words_are_compared_by_the_models_own_captions(
    api: TestClient, tiny: Served, photo: bytes
) -> None:
    names = ["a snowmobile", "red fox", "Canis lupus", "Vulpes vulpes"]
    bank = LabelBank.load(tiny.labels_folder)
    text_ND = tiny.model.encode_texts([f"a photo of {name}." for name in names])
    expected = dict(zip(names, _probabilities(tiny, photo, text_ND, bank.logit_scale), strict=True))
    reply = _ask(api, photo, names=names, floor=0, k=4)
    (answer,) = reply["answers"]
    assert {it["asked"]: it["probability"] for it in answer["top"]} == pytest.approx(expected, abs=1e-3)
    told = {it["asked"]: (it["rank"], it["scientific"], it["common"]) for it in answer["top"]}
    assert told["a snowmobile"] == (None, "", "")
    assert told["red fox"] == told["Vulpes vulpes"] == ("species", "Vulpes vulpes", "Red Fox")
    # What is no taxon has no share in the tree; two names of one taxon share it.
    canids = sum(share for name, share in expected.items() if name != "a snowmobile")
    assert answer["lineage"]["family"]["probability"] == pytest.approx(canids, abs=1e-3)
    first = reply["timings_ms"]["names"]
    assert _ask(api, photo, names=names, floor=0, k=4)["timings_ms"]["names"] < max(first, 5)


def test_names_that_are_all_unknown_have_no_lineage(api: TestClient, photo: bytes) -> None:
    (answer,) = _ask(api, photo, names=["a tent", "a car"])["answers"]
    assert (answer["lineage"], answer["taxon"]) == ({}, None)
    assert {it["asked"] for it in answer["top"]} == {"a tent", "a car"}


def test_one_bad_image_does_not_spoil_the_others(api: TestClient, photo: bytes) -> None:
    images = [base64.b64encode(it).decode() for it in (photo, b"not a picture", photo[:2000])]
    answers = api.post("/v1/classify", json={"images": images}).raise_for_status().json()["answers"]
    assert answers[0]["lineage"]
    assert answers[0]["problem"] is None
    assert [it["problem"]["status"] for it in answers[1:]] == [415, 422]
    assert answers[1]["lineage"] == {}


def test_vectors_are_those_of_the_model(api: TestClient, tiny: Served, photo: bytes) -> None:
    reply = api.post("/v1/embed", content=photo, headers=JPEG).raise_for_status().json()
    np.testing.assert_allclose([reply["embeddings"][0]["vector"]], _vector(tiny, photo), atol=1e-4)
    assert reply["model"]["digest"] == tiny.model.digest


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        ({"content": b"not a picture", "headers": JPEG}, 415, "not an image: send JPEG, PNG or WebP"),
        ({"content": b"", "headers": JPEG}, 422, "empty"),
        ({"json": {}}, 422, "images"),
        ({"json": {"images": ["%%%"]}}, 422, "images[0] is not base64"),
        ({"json": {"images": []}}, 422, "image"),
        ({"json": {"images": ["eA=="] * 17}}, 413, "at most 16"),
        ({"json": {"images": ["eA=="], "k": [{}] * 10_001}}, 413, "at most 10000"),
        ({"json": {"images": ["eA=="], "k": "5"}}, 422, "k: "),
        ({"json": {"images": ["eA=="], "colour": "red"}}, 422, "colour: "),
        ({"json": {"images": ["eA=="], "names": ["x" * 201]}}, 422, "names.0: "),
        ({"json": {"images": ["eA=="], "names": ["x"] * 1001}}, 422, "names: "),
        ({"json": {"images": ["eA=="], "names": ["x"], "clade": ["Aves"]}}, 422, "names stand alone"),
        ({"json": {"images": ["eA=="], "labels": "none"}}, 422, "'none' is not one of all, dogs"),
        ({"json": {"images": ["eA=="], "model": "none"}}, 422, "'none' is not one of tiny"),
        ({"json": {"images": ["eA=="], "model": "tiny/v2"}}, 422, "'v2' of tiny is not one of v1"),
        ({"json": {"images": ["eA=="], "clade": ["Reptilia"]}}, 422, "'Reptilia' is not in the label set 'all'"),
        ({"json": {"images": ["eA=="], "checklist": "moon"}}, 422, "'moon': not one of island"),
        ({"json": {"images": ["eA=="], "checklist": "island", "clade": ["Plantae"]}}, 422, "'island' has none"),
        ({"content": b"x", "headers": JPEG, "params": {"k": 0}}, 422, "k: "),
        ({"content": b"x", "headers": JPEG, "params": {"floor": 2}}, 422, "floor: "),
        ({"content": b"x", "headers": JPEG, "params": {"rank": "tribe"}}, 422, "rank: "),
        ({"files": {"photo": b"x"}}, 422, "'photo' is not known"),
        ({"files": {"image": b"x"}, "data": {"k": "many"}}, 422, "k: "),
        ({"content": b"[" * 9_000, "headers": {"Content-Type": "application/json"}}, 422, "JSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(api: TestClient, request_: dict[str, Any], status: int, said: str) -> None:
    response = api.post("/v1/classify", **request_)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert said in problem.get("detail", "") + problem["title"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/classify", 405), ("GET", "/v1/no", 404)])
def test_paths_and_methods_that_are_not_there(api: TestClient, method: str, path: str, status: int) -> None:
    response = api.request(method, path)
    assert (response.status_code, response.json()["status"]) == (status, status)
    assert response.headers["content-type"] == "application/problem+json"


def test_the_tree_can_be_browsed_to_its_leaves(api: TestClient) -> None:
    path, seen = "", []
    while True:
        page = api.get("/v1/taxa", params={"under": path}).raise_for_status().json()
        if not page["taxa"]:
            break
        seen.append(page["taxa"][0])
        path = seen[-1]["path"]
    assert [it["rank"] for it in seen] == ["kingdom", "phylum", "class", "order", "family", "genus", "species"]
    assert seen[0] == {
        "rank": "kingdom", "scientific": "Animalia", "common": "", "path": "Animalia", "num_taxa": 3
    }  # fmt: skip
    assert seen[-1]["common"] == "Common Raven"


def test_search_is_paged(api: TestClient) -> None:
    query = {"search": "c", "limit": 3}
    pages = [api.get("/v1/taxa", params=query).raise_for_status().json()]
    while pages[-1]["next"] is not None:
        pages.append(api.get("/v1/taxa", params=query | {"offset": pages[-1]["next"]}).raise_for_status().json())
    found = [it["scientific"] for page in pages for it in page["taxa"]]
    assert len(found) == len(set(found)) == pages[0]["total"] > 3
    assert all("c" in name.lower() for name in found if name != "Vulpes vulpes")
    assert found[0].startswith("C")


def test_what_is_served_is_told(api: TestClient, tiny: Served) -> None:
    (model,) = api.get("/v1/models").raise_for_status().json()
    assert (model["side"], model["dim"], model["model"]["digest"]) == (32, 16, tiny.model.digest)
    assert (model["ready"], model["share"], model["label_sets"]) == (True, 1, ["all", "dogs"])
    sets = api.get("/v1/label-sets").raise_for_status().json()
    assert [(it["model"], it["name"], it["num_taxa"]) for it in sets["label_sets"]] == [
        ("tiny", "all", 4), ("tiny", "dogs", 2)
    ]  # fmt: skip
    assert sets["checklists"] == ["island"]
    assert api.get("/readyz").json() == {"status": "ready"}
    assert api.get("/healthz").json() == {"status": "live"}


def test_figures_tell_of_answers(api: TestClient, photo: bytes) -> None:
    before = _figures(api.get("/metrics").text)
    images = [base64.b64encode(it).decode() for it in (photo, b"no")]
    api.post("/v1/classify", json={"images": images, "floor": 1}).raise_for_status()
    after = _figures(api.get("/metrics").text)
    for figure in (
        'trygon_images_total{outcome="answered"}',
        'trygon_images_total{outcome="unusable"}',
        'trygon_answers_total{among="all",model="tiny",rank="none",version="v1"}',
        'trygon_model_requests_total{model="tiny",status="200",version="v1"}',
        'trygon_model_seconds_count{model="tiny",version="v1"}',
        'trygon_requests_total{path="/v1/classify",status="200"}',
        'trygon_stage_seconds_count{path="/v1/classify",stage="encode"}',
        'trygon_confidence_count{among="all",model="tiny",version="v1"}',
    ):
        assert after[figure] == before.get(figure, 0) + 1, figure


def test_dashboard_asks_triton_for_figures_and_labels_that_exist(triton: Embedded) -> None:
    figures = told(httpx.get(triton.metrics).text)
    dashboard = queries(Path(__file__).parents[2] / "infra/monitoring/grafana.json")
    asked = [it for query in dashboard for it in query.figures().items() if it[0].startswith("nv_")]
    assert len(asked) >= 5
    for name, labels in asked:
        assert name in figures
        assert labels <= figures[name], name


def test_stages_are_counted_by_path_and_where_there_is_no_answer(api: TestClient, photo: bytes) -> None:
    """Or those of a slow server would be gone just when they are looked for."""

    def grown(ask: str, content: bytes, status: int) -> set[tuple[str, str]]:
        before = _figures(api.get("/metrics").text)
        assert api.post(ask, content=content, headers=JPEG).status_code == status
        after = _figures(api.get("/metrics").text)
        counts = {name: value - before.get(name, 0) for name, value in after.items() if "stage_seconds_count" in name}
        assert set(counts.values()) <= {0, 1}
        return {tuple(re.findall('"(.*?)"', name)) for name, value in counts.items() if value}  # pyright: ignore[reportReturnType]

    def of(path: str, *stages: str) -> set[tuple[str, str]]:
        return {(path, stage) for stage in (*stages, "total")}

    assert grown("/v1/classify", photo, 200) == of("/v1/classify", "names", "decode", "encode", "classify")
    assert grown("/v1/embed", photo, 200) == of("/v1/embed", "decode", "encode")
    assert grown("/v1/similar", photo, 200) == of("/v1/similar", "decode", "encode", "search")
    assert grown("/v1/embed", b"no picture", 415) == of("/v1/embed", "decode")
    assert grown("/v1/embed?model=none", photo, 422) == set()


def test_answers_among_few_are_no_drift(api: TestClient, photo: bytes) -> None:
    before = _figures(api.get("/metrics").text)
    _ask(api, photo, names=["a red fox", "nothing"])
    _ask(api, photo, clade=["Animalia"])
    after = _figures(api.get("/metrics").text)
    grown = {
        name for name in after if name.startswith("trygon_confidence_count") and after[name] != before.get(name, 0)
    }
    assert grown == {
        f'trygon_confidence_count{{among="{among}",model="tiny",version="v1"}}' for among in ("clade", "names")
    }


def _figures(text: str) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_no_picture_is_stored(api: TestClient, photo: bytes) -> None:
    """A large form, which the parser would spool to disk by itself: the process opens no file for it."""
    spooled = photo + bytes(2_000_000)
    opened: list[str] = []

    def listen(event: str, values: tuple[Any, ...]) -> None:
        if event == "open" and listening:
            opened.append(str(values[0]))

    listening = False
    sys.addaudithook(listen)
    listening = True
    try:
        api.post("/v1/classify", files={"image": spooled}).raise_for_status()
    finally:
        listening = False
    assert [path for path in opened if not path.endswith((".py", ".pyc", ".so"))] == []


def test_an_answer_that_takes_too_long_and_one_that_nobody_waits_for_are_told_apart(
    args: AppArgs, photo: bytes
) -> None:
    hasty = Service(args.model_copy(update={"limits": Limits(answer_s=0.001)}))
    with TestClient(make_api(hasty)) as api:
        response = api.post("/v1/classify", content=photo, headers=JPEG)
    assert (response.status_code, response.headers["retry-after"]) == (504, "2")
    assert response.json()["title"] == "No answer in time"
    figures = _figures(hasty.metrics.text().decode())
    assert figures['trygon_stage_seconds_count{path="/v1/classify",stage="total"}'] == 1
    assert sum(value for name, value in figures.items() if name.startswith("trygon_stage_seconds_count")) >= 2
    service = Service(args)

    async def go_away() -> None:
        await service.supply.start()
        asked = asyncio.create_task(service.classify([photo], Options.model_validate({})))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await service.supply.close()

    asyncio.run(go_away())
    for each, status in ((hasty, 504), (service, 499)):
        told = f'trygon_model_requests_total{{model="tiny",status="{status}",version="v1"}} 1.0'
        assert told in each.metrics.text().decode().splitlines()

"""Label sets and models while they are served: several versions, new ones in the place of old ones, and wrong ones."""

import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from trygon.labelling.bank import LabelBank
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.tree import TaxonTree
from trygon.testing.served import TAXA, Served
from trygon.testing.tiny import write_tiny_model
from trygon_serving.api import make_api
from trygon_serving.args import AppArgs
from trygon_serving.catalogue import VersionSpec
from trygon_serving.service import Service

pytestmark = pytest.mark.slow

JPEG = {"Content-Type": "image/jpeg"}


def _ask(api: TestClient, photo: bytes) -> dict[str, Any]:
    return api.post("/v1/classify", content=photo, headers=JPEG).raise_for_status().json()


def test_label_sets_of_all_versions_are_told_each_as_most_requests_meet_it(args: AppArgs) -> None:
    assert isinstance(args.models, dict)
    v1 = args.models["tiny"]["v1"]
    all_taxa, dogs = v1.labels["all"], v1.labels["dogs"]
    rarely = v1.model_copy(update={"share": 0.1, "labels": {"new": dogs, "names": dogs}})
    never = v1.model_copy(update={"share": 0, "labels": {"next": all_taxa, "new": all_taxa}})
    mostly = v1.model_copy(update={"share": 0.9, "labels": {"names": all_taxa}})
    models = {"tiny": {"v0": never, "v1": rarely, "v2": mostly}}
    with TestClient(make_api(Service(args.model_copy(update={"models": models})))) as api:
        sets = api.get("/v1/label-sets").raise_for_status().json()["label_sets"]
        pages = [api.get("/v1/taxa", params={"labels": it["name"]}).raise_for_status().json() for it in sets]
    assert [(it["name"], it["num_taxa"]) for it in sets] == [("names", 4), ("new", 2), ("next", 4)]
    assert [page["labels"] for page in pages] == ["names", "new", "next"]


def _with_labels(args: AppArgs, tiny: Served, **labels: Path) -> AppArgs:
    """The same with other label sets."""
    sets = {name: str(folder) for name, folder in labels.items()}
    models = {"tiny": {"v1": VersionSpec(model=str(tiny.model_folder), labels=sets)}}
    return args.model_copy(update={"models": models})


def test_a_label_set_is_replaced_while_it_is_asked(args: AppArgs, tiny: Served, photo: bytes, tmp_path: Path) -> None:
    """Written anew twice under requests: none fails, and each is answered by the old names or by the new ones."""
    folder = tmp_path / "labels"
    LabelBank.build(TaxonTree.from_taxa(TAXA[:2]), tiny.model, TextType.COM).save(folder)
    with TestClient(make_api(Service(_with_labels(args, tiny, names=folder)))) as api:
        for taxa in (TAXA, TAXA[1:]):
            bank = LabelBank.build(TaxonTree.from_taxa(taxa), tiny.model, TextType.COM)
            bank.save(folder)
            counts, deadline = [], time.monotonic() + 30
            while (not counts or counts[-1] != len(taxa)) and time.monotonic() < deadline:
                counts.append(_ask(api, photo)["labels"]["num_taxa"])
                time.sleep(0.05)
            assert counts[-1] == len(taxa)
        assert api.get("/v1/label-sets").json()["label_sets"][0]["digest"] == bank.tree.digest


def test_labels_of_another_model_do_not_take_the_place(
    args: AppArgs, tiny: Served, photo: bytes, tmp_path: Path
) -> None:
    from trygon.models.model import load_model

    folder = tmp_path / "labels"
    tree = TaxonTree.from_taxa(TAXA)
    LabelBank.build(tree, tiny.model, TextType.COM).save(folder)
    service = Service(_with_labels(args, tiny, names=folder))
    with TestClient(make_api(service)) as api:
        _ask(api, photo)
        LabelBank.build(tree, load_model(write_tiny_model(tmp_path / "other", 1), "cpu"), TextType.SCI).save(folder)
        deadline = time.monotonic() + 30
        while not (told := api.get("/v1/label-sets").json()["label_sets"][0])["problem"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "were built with" in told["problem"]
        assert _ask(api, photo)["labels"]["text_type"] == "com"


def test_labels_of_another_model_are_never_served(args: AppArgs, tiny: Served, photo: bytes, tmp_path: Path) -> None:
    from trygon.models.model import load_model

    other = load_model(write_tiny_model(tmp_path / "other", 1), "cpu")
    LabelBank.build(TaxonTree.from_taxa(TAXA), other, TextType.COM).save(tmp_path / "labels")
    service = Service(_with_labels(args, tiny, names=tmp_path / "labels"))
    with TestClient(make_api(service)) as api:
        for response in (api.get("/readyz"), api.post("/v1/classify", content=photo, headers=JPEG)):
            assert response.status_code == 503
            assert response.json()["title"] == "The model is not ready"
            assert "the labels were built with" in response.json()["detail"]
        (card,) = api.get("/v1/models").json()
        assert not card["ready"]
        assert "the labels were built with" in card["problem"]


def test_a_model_that_triton_does_not_hold_is_told_and_the_others_answer(
    args: AppArgs, tiny: Served, photo: bytes, tmp_path: Path
) -> None:
    """This Triton's repository is not the application's to write, as with `--triton`."""
    from trygon.models.model import load_model

    other = write_tiny_model(tmp_path / "other", 1)
    LabelBank.build(TaxonTree.from_taxa(TAXA), load_model(other, "cpu"), TextType.COM).save(tmp_path / "labels")
    assert isinstance(args.models, dict)
    spec = VersionSpec(model=str(other), labels={"others": str(tmp_path / "labels")})
    service = Service(args.model_copy(update={"models": args.models | {"other": {"v1": spec}}}))
    with TestClient(make_api(service)) as api:
        assert _ask(api, photo)["model"]["name"] == "tiny"
        deadline = time.monotonic() + 30
        ask = {"url": "/v1/classify?model=other", "content": photo, "headers": JPEG}
        while "does not hold it" not in (response := api.post(**ask)).text:
            assert time.monotonic() < deadline, response.text
            time.sleep(0.1)
        assert response.status_code == 503
        assert [it["ready"] for it in api.get("/v1/models").json()] == [True, False]

"""Observations of a run that look like a picture, as the endpoint finds them."""

import base64
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from trygon.archive.run_folder.run import Run
from trygon.archive.run_folder.search import Filters, RunSearch
from trygon.archive.run_folder.sessions import bind
from trygon.data.images import preprocess
from trygon.testing.runs import write_tiny_run
from trygon.testing.served import Served
from trygon_serving.api import make_api
from trygon_serving.args import AppArgs
from trygon_serving.service import Service

pytestmark = pytest.mark.slow

JPEG = {"Content-Type": "image/jpeg"}


def test_observations_of_a_run_that_look_like_a_picture(
    api: TestClient, args: AppArgs, tiny: Served, photo: bytes
) -> None:
    run = Run.open(args.runs["season"])
    expected = RunSearch(run, run.observations)
    allowed_N = expected.allowed(Filters(taxa=("roe deer",)))
    vector_D = tiny.model.encode_images(preprocess(photo, tiny.model.side, tiny.model.resize_mode)[None])[0]
    hits = expected.nearest(vector_D, 3, allowed_N)
    form = {"k": "3", "taxon": ["roe deer"], "after": "2000-01-01T00:00"}
    files = [("image", ("a.jpg", photo)), ("image", ("b.jpg", b"no picture"))]
    reply = api.post("/v1/similar", files=files, data=form).raise_for_status().json()
    answer, unusable = reply["answers"]
    assert [it["observation_id"] for it in answer["neighbours"]] == [str(hit.observation_id) for hit in hits]
    assert [it["cosine"] for it in answer["neighbours"]] == pytest.approx([hit.cosine for hit in hits], abs=1e-3)
    assert {it["common"] for it in answer["neighbours"]} == {"roe deer"}
    assert all(it["media"] and it["timestamp"] and not it["reviewed"] for it in answer["neighbours"])
    assert (unusable["neighbours"], unusable["problem"]["status"]) == ([], 415)
    body = {"images": [base64.b64encode(photo).decode()], "k": 3, "taxon": ["roe deer"], "before": "2100-01-01"}
    again = api.post("/v1/similar", json=body).raise_for_status().json()
    assert again["answers"][0]["neighbours"] == answer["neighbours"]
    (card,) = api.get("/v1/runs").raise_for_status().json()
    assert card == {
        "name": "season", "num_observations": run.observations.num_rows, "model_digest": tiny.model.digest,
        "encoder": "torch",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ({"run": "moon"}, 422, "'moon' is not one of season"),
        ({"taxon": "unicorn"}, 422, "taxon unicorn: no observation"),
        ({"after": "yesterday"}, 422, "after: "),
        ({"after": "2024-05-31T18:00:00Z"}, 422, "after: "),
        ({"k": 0}, 422, "k: "),
    ],
)
def test_what_a_run_does_not_have_is_said(
    api: TestClient, photo: bytes, options: dict[str, Any], status: int, said: str
) -> None:
    response = api.post("/v1/similar", params=options, content=photo, headers=JPEG)
    assert response.status_code == status
    assert said in response.json()["detail"]


def test_a_run_of_another_model_is_not_searched(args: AppArgs, photo: bytes, tmp_path: Path) -> None:
    run = write_tiny_run(tmp_path)
    bind(run.folder, {"model": "another"})
    with TestClient(make_api(Service(args.model_copy(update={"runs": {"old": str(run.folder)}})))) as api:
        response = api.post("/v1/similar", content=photo, headers=JPEG)
    assert response.status_code == 503
    assert response.json()["title"] == "The run does not fit the model"
    with TestClient(make_api(Service(args.model_copy(update={"runs": {}})))) as api:
        assert api.post("/v1/similar", content=photo, headers=JPEG).status_code == 404

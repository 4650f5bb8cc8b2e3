"""The server of the review without a browser: its door, what it takes and what it refuses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reviewing import copy_run, desk_of, names_of, standing
from starlette.testclient import TestClient

from trygon.archive.run_folder.reviews import read_reviews
from trygon.archive.run_folder.run import Run
from trygon.archive.run_folder.search import RunSearch
from trygon.review.pictures import Pictures
from trygon.review.server import About, ReviewParts, application
from trygon.testing.runs import TREE, write_tiny_run

HOST = {"host": "127.0.0.1:80"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_tiny_run(tmp_path_factory.mktemp("template"), 12).folder).parent


@pytest.fixture
def run(template: Path, tmp_path: Path) -> Run:
    return copy_run(template, tmp_path)


@pytest.fixture
def client(run: Run) -> Iterator[TestClient]:
    desk = desk_of(run)
    pictures = Pictures.of(run, desk.columns, said=desk.said)
    parts = ReviewParts(desk, pictures, lambda: RunSearch(run, desk.columns.table), About("north", "Ana", len(TREE)))
    with TestClient(application(parts, "secret", 80), base_url="http://127.0.0.1:80") as client:
        client.headers.update(HOST)
        assert client.get("/?token=secret").status_code == 200
        yield client


def test_door_is_shut_without_token_and_for_othernames_of(client: TestClient) -> None:
    assert client.get("/api/run").json()["title"] == "north"
    page = client.get("/")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "secret" not in page.text
    for host in ("evil.example", "127.0.0.1", "127.0.0.1:81", "127.0.0.1.evil.example:80"):
        assert client.get("/api/run", headers={"host": host}).status_code == 421
    assert client.get("/api/run", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post("/api/undo", content="{}", headers={"content-type": "text/plain"}).status_code == 422
    client.cookies.clear()
    for path in ("/", "/api/run", "/?token=", "/?token=wrong", "/review.js", "/?token=sécret"):
        assert client.get(path).status_code == 403, path


def test_an_event_is_reviewed_and_taken_back_over_http(client: TestClient, run: Run) -> None:
    first = client.get("/api/events?limit=1").json()["events"][0]
    event = client.get(f"/api/events/{first['id']}").json()
    key = client.get("/api/taxa?q=wolf").json()[0]["key"]
    body = {"event": event["id"], "version": event["version"], "type": "animal", "taxon": key, "count": 2, "by": "Bo"}
    answer = client.post("/api/reviews", json=body).json()
    assert answer["num_reviewed"] == 1
    assert client.post("/api/reviews", json=body).status_code == 409
    assert names_of(client.get(f"/api/events/{first['id']}").json()) == [("animal", "wolf", 2)]
    undone = client.post("/api/undo", json={"reviews": answer["reviews"]}).json()
    assert undone == {"events": [event["id"]], "num_events": 10, "num_reviewed": 0}
    observation = event["frames"][0]["observations"][0]["id"]
    hits = client.get(f"/api/alike/{observation}").json()
    assert hits[0]["label"]["common"] == "red fox"
    assert event["id"] not in hits
    some = [hit["id"] for hit in hits[:3]]
    assert client.post("/api/reviews", json={"observations": some, "as": observation}).status_code == 200
    assert {row["reviewed_by"] for row in standing(run).values() if str(row["observation_id"]) in some} == {"Ana"}
    for path in (f"/frames/{event['frames'][0]['media']}.jpg?width=240", f"/crops/{observation}.jpg"):
        assert client.get(path).content.startswith(b"\xff\xd8")


@pytest.mark.parametrize(
    "body",
    [
        {}, {"event": "1", "type": "animal", "version": "x"}, {"event": 1, "type": "blank"}, {"event": "9" * 30},
        {"observations": []}, {"observations": ["1"] * 3000, "type": "blank"},
        {"observations": ["-1"], "type": "blank"},
        {"observations": ["1"], "type": "beast"}, {"observations": ["1"], "type": "animal", "taxon": "9:9"},
        {"observations": ["1"], "type": "animal", "count": 0}, {"observations": ["1"], "type": "animal", "sex": "yes"},
        {"observations": ["1"], "type": "blank", "by": "x" * 300}, {"observations": ["1"], "as": "7"},
        {"observations": ["1"], "type": "blank", "by": "a\nb"}, {"observations": ["1"], "type": "blank", "by": 3},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_leaves_nothing(client: TestClient, run: Run, body: dict[str, Any]) -> None:
    answer = client.post("/api/reviews", json=body)
    assert answer.status_code == 422
    assert answer.json()["problem"]
    assert read_reviews(run.folder).num_rows == 0


def test_other_requests_that_make_no_sense_are_refused(client: TestClient) -> None:
    for path in ("/api/events?after=x", "/api/events?limit=0", "/api/events?sure=nan", f"/api/events/{2**70}"):
        assert client.get(path).status_code == 422, path
    for path in ("/frames/5.jpg", f"/crops/{2**70}.jpg", "/nothing", "/..%2freview.js"):
        assert client.get(path).status_code == 404, path
    big = b'{"observations": ["' + b"1" * (300 << 10) + b'"]}'
    assert client.post("/api/reviews", content=big, headers={"content-type": "application/json"}).status_code == 422
    assert client.post("/api/reviews", content=b"[", headers={"content-type": "application/json"}).status_code == 422


def test_a_broken_archive_leaves_thenames_of(client: TestClient, run: Run) -> None:
    event = client.get("/api/events?limit=1").json()["events"][0]["id"]
    frame = client.get(f"/api/events/{event}").json()["frames"][0]
    Path(run.config["archive"], frame["path"]).unlink()
    answer = client.get(f"/frames/{frame['media']}.jpg")
    assert answer.status_code == 404
    assert "cannot be read" in answer.json()["problem"]

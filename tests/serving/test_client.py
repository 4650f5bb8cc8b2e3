"""The package's client and the application, over real HTTP; and the application against its own description."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import schemathesis
import uvicorn
from hypothesis import given, settings
from pydantic import ValidationError
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from trygon.testing.served import Served
from trygon_serving.api import make_api
from trygon_serving.args import AppArgs
from trygon_serving.client import Client
from trygon_serving.keys import add_key
from trygon_serving.problem import Problem
from trygon_serving.service import Service

OverHttp = Callable[[AppArgs], AbstractContextManager[str]]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(args: AppArgs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The application on a port of its own: its address, and a key that may ask six times a minute."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    key, spent = add_key(keys, "tests"), add_key(keys, "spent", per_day=1)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        api = make_api(Service(args.model_copy(update={"keys": str(keys)})))
        server = uvicorn.Server(uvicorn.Config(api, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", f"{key} {spent}"
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def client(served: tuple[str, str]) -> Iterator[Client]:
    address, keys = served
    with Client(address, keys.split()[0]) as client:
        deadline = time.monotonic() + 20
        while not client.is_ready():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield client


def test_client_asks_for_everything(client: Client, tiny: Served, photo: bytes, tmp_path: Path) -> None:
    (tmp_path / "fox.jpg").write_bytes(photo)
    reply = client.classify([photo, tmp_path / "fox.jpg"], clade=["Canidae"], k=1, floor=0)
    assert len(reply.answers) == 2
    assert [len(answer.top) for answer in reply.answers] == [1, 1]
    assert reply.answers[0].taxon
    assert reply.model.digest == tiny.model.digest
    assert len(client.embed([photo]).embeddings[0].vector or []) == 16
    assert [it.scientific for it in client.children().taxa] == ["Animalia", "Plantae"]
    assert client.search("raven").taxa[0].scientific == "Corvus corax"
    assert [it.name for it in client.label_sets().label_sets] == ["all", "dogs"]
    assert client.models()[0].dim == 16
    assert len(client.similar([photo], k=2, taxon=["red fox"]).answers[0].neighbours) == 2
    assert [it.name for it in client.runs()] == ["season"]


def test_the_documented_program_runs(
    over_http: OverHttp,
    args: AppArgs,
    photo: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (Path(__file__).parents[2] / "docs/serve.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(photo)
    with over_http(args) as address:
        assert "http://127.0.0.1:8000" in program
        exec(compile(program.replace("http://127.0.0.1:8000", address), "docs/serve.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 + 3 + 1
    assert said[-1].startswith("422 ")
    assert "'Dinosauria' is not in the label set" in said[-1]


def test_client_says_what_was_wrong(client: Client, served: tuple[str, str], photo: bytes) -> None:
    with pytest.raises(Problem, match="'Reptilia' is not in the label set"):
        client.classify([photo], clade=["Reptilia"])
    with pytest.raises(ValidationError):
        client.classify([photo], colour="red")
    address, keys = served
    with Client(address, "trygon_00000000_x") as stranger, pytest.raises(Problem) as caught:
        stranger.models()
    assert caught.value.status == 401
    with Client(address, keys.split()[1]) as spent:
        spent.models()
        start_s = time.monotonic()
        with pytest.raises(Problem, match="1 a day") as caught:
            spent.models()
        assert time.monotonic() - start_s < 10  # it comes back tomorrow: that is not waited for
        assert (caught.value.retry_after_s or 0) > 3600


def test_options_without_a_value_are_as_if_not_given(client: Client, photo: bytes) -> None:
    given = client.classify([photo], checklist=None, model=None, labels=None).answers[0]
    assert given.taxon == client.classify([photo]).answers[0].taxon
    assert len(client.similar([photo], k=1, run=None, after=None).answers[0].neighbours) == 1


CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


def test_application_does_what_its_description_says(client: Client, served: tuple[str, str], photo: bytes) -> None:
    """Requests of all kinds, made from the OpenAPI document; bounded, and the same every time."""
    client.classify(
        [photo], names=["a tent"]
    )  # asks again while the text encoder is loaded, which no request here does
    address, keys = served
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    headers = {"Authorization": f"Bearer {keys.split()[0]}"}
    asked = set()
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()

        @given(operation.as_strategy())
        @settings(max_examples=12, deadline=None, derandomize=True, database=None)
        def ask(case: schemathesis.Case) -> None:
            asked.add(case.path)
            case.call_and_validate(headers=headers, checks=list(CHECKS))

        ask()
    assert {
        "/v1/classify",
        "/v1/similar",
        "/v1/embed",
        "/v1/runs",
        "/v1/galleries",
        "/v1/taxa",
        "/v1/models",
        "/v1/label-sets",
        "/metrics",
    } <= asked

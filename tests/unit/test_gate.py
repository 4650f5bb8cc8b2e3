"""What requests pass before anything is asked of a model: no Triton and no Ray here."""

import asyncio
import json
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient
from starlette.types import Message

from trygon.errors import UserError
from trygon.limits import Limits
from trygon.testing.dashboards import Query, queries, told
from trygon.testing.served import SETTINGS
from trygon_serving import wire
from trygon_serving.api import make_api
from trygon_serving.args import AppArgs
from trygon_serving.catalogue import VersionSpec
from trygon_serving.front import Front
from trygon_serving.journal import set_up
from trygon_serving.keys import add_key
from trygon_serving.service import Service
from trygon_serving.settings import Settings, own_hosts, require_safety

DASHBOARD = Path(__file__).parents[2] / "infra/monitoring/grafana.json"


def _settings(**changes: Any) -> Settings:
    return Settings(**SETTINGS | changes)


@pytest.fixture
def args(tmp_path: Path) -> AppArgs:
    spec = VersionSpec(model=str(tmp_path / "model"), labels={"all": str(tmp_path / "labels")})
    limits = Limits(held_bytes=100_000, body_bytes=60_000)
    return AppArgs(models={"m": {"v1": spec}}, triton="127.0.0.1:1", limits=limits)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    logger = set_up(str(tmp_path / "log.jsonl"))
    yield tmp_path / "log.jsonl"
    for handler in logger.handlers:
        handler.close()
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)


def _client(args: AppArgs) -> TestClient:
    return TestClient(make_api(Service(args)))


def test_only_keys_may_ask_where_there_are_keys(args: AppArgs, tmp_path: Path) -> None:
    token = add_key(tmp_path / "keys.json", "app", per_minute=1)
    api = _client(args.model_copy(update={"keys": str(tmp_path / "keys.json")}))
    for path in ("/", "/docs", "/healthz", "/openapi.json"):
        assert api.get(path).status_code == 200
    for method, path in [("GET", "/v1/taxa"), ("POST", "/v1/classify"), ("GET", "/metrics"), ("GET", "/v1/no")]:
        response = api.request(method, path)
        assert response.status_code == 401
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["www-authenticate"] == "Bearer"
    headers = {"Authorization": f"Bearer {token}"}
    assert api.get("/v1/label-sets", headers=headers).status_code == 200
    response = api.get("/v1/label-sets", headers=headers)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) <= 60


def test_the_description_says_what_needs_a_key(args: AppArgs, tmp_path: Path) -> None:
    """So that generated clients send one, where it is needed and nowhere else."""
    add_key(tmp_path / "keys.json", "app")
    api = _client(args.model_copy(update={"keys": str(tmp_path / "keys.json")}))
    document = api.get("/openapi.json").json()
    (name,) = document["components"]["securitySchemes"]
    assert document["components"]["securitySchemes"][name] == {"type": "http", "scheme": "bearer"}
    operations = [(path, *it) for path, methods in document["paths"].items() for it in methods.items()]
    for path, method, about in operations:
        is_refused = api.request(method, path).status_code == 401
        assert about.get("security") == ([{name: []}] if is_refused else None), path
    assert sum("security" in about for *_, about in operations) == len(operations) - 2  # /healthz and /readyz
    without = _client(args).get("/openapi.json").json()
    assert "securitySchemes" not in without["components"]
    assert not any("security" in about for methods in without["paths"].values() for about in methods.values())


def test_the_manual_says_how_a_key_is_sent_and_what_is_refused(args: AppArgs, tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json", "app")
    locked = _client(args.model_copy(update={"keys": str(tmp_path / "keys.json")})).get("/docs").text
    free = _client(args).get("/docs").text
    for page, said in ((locked, "This server asks for a key"), (free, "This server asks for no key")):
        assert said in page
        assert "<code>Authorization: Bearer KEY</code>" in page
        for status in (401, 413, 415, 422, 429, 503):
            assert f"<td>{status}</td>" in page
        assert page.count("<code>Retry-After</code>") >= 2
    assert "Only <code>/healthz</code>, <code>/readyz</code>, <code>/openapi.json</code>, this page" in locked


def test_the_manual_tells_every_path_parameter_and_answer_and_loads_nothing(args: AppArgs) -> None:
    api = _client(args)
    page, document = api.get("/docs"), api.get("/openapi.json").json()
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "://" not in page.text
    assert "observations of a labelling run, or pictures of a gallery." in page.text  # two lines of the code
    for path, methods in document["paths"].items():
        assert path in page.text
        for about in methods.values():
            for parameter in about.get("parameters", []):
                assert f"<td>{parameter['name']}</td>" in page.text
    for name in document["components"]["schemas"]:
        assert f'id="{name}"' in page.text or "enum" in document["components"]["schemas"][name]


def test_others_on_the_network_need_keys_and_whole_certificates(tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json", "app")
    for host in ("127.0.0.1", "::1", "localhost"):
        require_safety(_settings(host=host))
    for host in ("0.0.0.0", "::", "192.168.1.7", "my-host"):
        with pytest.raises(UserError, match="--keys FILE"):
            require_safety(_settings(host=host))
        require_safety(_settings(host=host, keys=str(tmp_path / "keys.json")))
    with pytest.raises(UserError, match="go together"):
        require_safety(_settings(host="::1", tls_key="k.pem"))
    with pytest.raises(UserError, match=r"none.pem.*PEM"):
        require_safety(_settings(host="::1", tls_key="none.pem", tls_certificate="none.pem"))


def test_a_key_with_a_passphrase_is_refused_and_nobody_asked(tmp_path: Path) -> None:
    """The proxy reads it in a process that has no terminal."""
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    words = ["-x509", "-newkey", "rsa:2048", "-passout", "pass:secret", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", "req", *words, "-subj", "/CN=station"], check=True, capture_output=True)
    with pytest.raises(UserError, match="--tls-key has a passphrase"):
        require_safety(_settings(tls_key=key, tls_certificate=certificate))


def test_a_body_has_to_fit_into_what_is_held() -> None:
    with pytest.raises(ValidationError, match=r"held_bytes \(256000000\) is below body_bytes \(300000000\)"):
        Limits(body_bytes=300_000_000)


def test_pages_of_other_sites_may_not_ask_a_server_of_this_machine(args: AppArgs, tmp_path: Path) -> None:
    """Neither straight, nor by a name of theirs that means this machine."""
    hosts = own_hosts(_settings(host="127.0.0.2"))
    api = _client(args.model_copy(update={"hosts": hosts}))
    for host in ("127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "127.0.0.2"):
        assert api.get("/healthz", headers={"Host": host}).status_code == 200
        assert api.get("/healthz", headers={"Host": host, "Origin": f"http://{host}"}).status_code == 200
        for origin in ("https://evil.example", "null", "http://localhost:3000", f"http://{host}.evil.example"):
            assert api.get("/healthz", headers={"Host": host, "Origin": origin}).status_code == 403
    for host in ("evil.example:8000", "10.0.0.7:8000", "127.0.0.1.evil.example", "localhost:8000:1", ""):
        response = api.get("/", headers={"Host": host})
        assert response.status_code == 421
        assert response.headers["content-type"] == "application/problem+json"
    # With keys, and where others reach it, any name is right: of a proxy, of a pod.
    assert own_hosts(_settings(host="127.0.0.1", keys="keys.json")) == ()
    assert own_hosts(_settings(host="0.0.0.0", keys="keys.json")) == ()
    assert "[::1]" in own_hosts(_settings(host="::1"))
    headers = {"Host": "10.0.0.7", "Origin": "https://field.example"}
    assert _client(args).get("/healthz", headers=headers).status_code == 200


def test_large_headers_are_refused(args: AppArgs) -> None:
    api = _client(args)
    assert api.get("/v1/taxa", headers={"X-Long": "x" * 20_000}).status_code == 431
    assert api.get("/v1/taxa?search=" + "x" * 20_000).status_code == 431


def test_requests_have_names(args: AppArgs) -> None:
    api = _client(args)
    assert api.get("/healthz", headers={"X-Request-ID": "walk-7"}).headers["x-request-id"] == "walk-7"
    assert len(api.get("/healthz", headers={"X-Request-ID": "two words"}).headers["x-request-id"]) == 32


def test_bodies_that_have_no_room_are_not_read(args: AppArgs) -> None:
    service = Service(args)
    with service.admission.body(0) as take, TestClient(make_api(service)) as api:
        take(60_000)
        response = api.post("/v1/classify", content=b"x" * 50_000, headers={"Content-Type": "image/jpeg"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert (service.admission.bytes, service.admission.images) == (0, 0)


def test_log_tells_who_asked_and_nothing_of_what(args: AppArgs, log: Path, tmp_path: Path) -> None:
    token = add_key(tmp_path / "keys.json", "app")
    with _client(args.model_copy(update={"keys": str(tmp_path / "keys.json")})) as api:
        headers = {"Authorization": f"Bearer {token}", "X-Request-ID": "r1"}
        api.post("/v1/classify?names=secret", content=b"picture", headers=headers | {"Content-Type": "image/jpeg"})
        api.get("/v1/nothing/secret")
    text = log.read_text()
    lines = [line for line in map(json.loads, text.splitlines()) if line["message"] == "request"]
    assert [(line["path"], line["status"]) for line in lines] == [("/v1/classify", 503), ("other", 401)]
    assert (lines[0]["request"], lines[0]["key"], lines[0]["bytes"]) == ("r1", token.split("_")[1], "7")
    for hidden in (token, token.split("_", 2)[2], "picture", "secret"):
        assert hidden not in text


def test_what_nobody_foresaw_is_a_problem_too(args: AppArgs, log: Path) -> None:
    api = make_api(Service(args))
    api.state.service = None
    response = TestClient(api).get("/v1/taxa", headers={"X-Request-ID": "r2"})
    assert (response.status_code, response.json()["detail"]) == (500, "request r2")
    assert "Traceback" in log.read_text()


def test_a_client_that_goes_while_its_body_is_on_its_way_is_no_failure(args: AppArgs, log: Path) -> None:
    path, service = "/v1/classify", Service(args)
    headers = [(b"host", b"x"), (b"content-type", b"image/jpeg")]
    about = {"method": "POST", "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b""}
    messages: list[Message] = [
        {"type": "http.request", "body": b"a part", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "http_version": "1.1", "headers": headers, **about}
    asyncio.run(make_api(service)(scope, receive, send))
    assert sent == []
    assert 'trygon_requests_total{path="/v1/classify",status="499"} 1.0' in service.metrics.text().decode()
    assert (service.admission.bytes, service.admission.images) == (0, 0)
    (line,) = map(json.loads, log.read_text().splitlines())
    assert (line["message"], line["path"], line["status"]) == ("request", path, None)


def test_dashboard_asks_for_figures_and_labels_that_exist(args: AppArgs) -> None:
    service = Service(args, "a1")
    model = wire.ModelCard(name="m", version="v1", ref="", digest="")
    labels = wire.LabelsCard(name="all", digest="", num_taxa=1, text_type="")
    best = wire.Name(rank="species", scientific="Corvus corax", common="", probability=0.9)
    reply = wire.Classification(
        answers=[wire.Answer(taxon=best, top=[best])],
        floor=0.5,
        rank="species",
        model=model,
        labels=labels,
        timings_ms={"total": 9},
    )
    metrics = service.metrics
    metrics.asked("/v1/classify", 200, 0.01)
    metrics.used("m", "v1", 200, 0.01)
    metrics.spent("/v1/classify", reply.timings_ms)
    metrics.answered(reply, "all")
    metrics.taxa.labels("m", "all").set(1)
    figures = told(metrics.text().decode())
    assert "replica" in figures["trygon_images_in_work"]
    figures |= told(TestClient(Front(make_api(service))).get("/metrics").text)
    asked = [it for query in queries(DASHBOARD) for it in query.figures().items() if it[0].startswith("trygon_")]
    # Triton's own are compared with a Triton that runs, in tests/serving.
    assert len({name for name, _ in asked}) >= 8
    for name, labels_asked in asked:
        assert name in figures
        assert labels_asked <= figures[name], name


@pytest.mark.parametrize(
    ("text", "legend", "figures"),
    [
        (
            'rate(a_total{x="by (p)",y!~"5..|{}"}[1m]) / b_total',
            "{{z}}",
            {"a_total": {"x", "y", "z"}, "b_total": {"z"}},
        ),
        (
            "histogram_quantile(0.5, sum by (le, x) (rate(a_bucket[$__rate_interval]))) / sum by (y) (b_sum)",
            "{{x}}",
            {"a_bucket": {"le", "x"}, "b_sum": {"x", "y"}},
        ),
        ("sum(rate(a_total[1m]))", "all", {"a_total": set()}),
    ],
)
def test_labels_of_a_query_are_found(text: str, legend: str, figures: dict[str, set[str]]) -> None:
    assert Query(text, legend).figures() == figures


def test_queries_that_are_not_understood_are_not_passed_over() -> None:
    for text, legend in (
        ("sum(a_total) by (x)", ""),
        ("sum without (x) (a_total)", ""),
        ("sum by (x) (a_b)", "{{y}}"),
    ):
        with pytest.raises(AssertionError):
            Query(text, legend).figures()


def test_figures_say_of_which_replica_they_are(args: AppArgs) -> None:
    """Behind one address each scrape sees another one: their counters must not be taken for one that jumps."""
    replies = []
    for replica in ("a1", "b2"):
        api = TestClient(make_api(Service(args, replica)))
        api.get("/v1/taxa")
        replies.append(api.get("/metrics").text)
    for replica, text in zip(("a1", "b2"), replies, strict=True):
        samples = [line for line in text.splitlines() if not line.startswith("#")]
        assert any(line.startswith("trygon_requests_total{") for line in samples)
        assert all(f'replica="{replica}"' in line for line in samples)
    assert 'replica="' not in TestClient(make_api(Service(args))).get("/metrics").text

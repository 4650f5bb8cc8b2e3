"""Traces as a real receiver of OTLP gets them."""

import sys

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from starlette.testclient import TestClient

from trygon.errors import UserError
from trygon.testing.otlp import receiver
from trygon_serving.api import make_api
from trygon_serving.args import AppArgs
from trygon_serving.service import Service
from trygon_serving.traces import require_endpoint

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STAGES = {"names", "decode", "encode", "classify"}


def _attributes(span: Span) -> dict[str, str | int]:
    return {it.key: it.value.string_value or it.value.int_value for it in span.attributes}


@pytest.mark.slow
def test_a_request_is_a_span_with_its_stages_within_the_trace_of_the_client(args: AppArgs, photo: bytes) -> None:
    headers = {"Content-Type": "image/jpeg", "X-Request-ID": "field-app.7", "Authorization": "Bearer trygon_secret"}
    traced = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    with receiver() as received:
        service = Service(args.model_copy(update={"traces": received.url}))
        with TestClient(make_api(service)) as api:
            answer = api.post("/v1/classify?clade=Animalia", content=photo, headers=headers | traced)
            assert answer.status_code == 200
            assert api.post("/v1/classify", content=photo, headers=headers).status_code == 200
            assert api.post("/v1/classify", content=b"none", headers=headers).status_code == 415
            unwanted = {"traceparent": f"00-{TRACE}-{PARENT}-00"}  # the client says that it is not sampled
            assert api.get("/healthz", headers=unwanted).status_code == 200
    requests = [span for span in received.spans if span.kind == Span.SPAN_KIND_SERVER]
    assert [span.name for span in requests] == ["POST /v1/classify"] * 3
    first, second, third = requests
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, PARENT)
    assert second.trace_id != first.trace_id
    assert not second.parent_span_id
    assert _attributes(first) == {
        "trygon.request_id": "field-app.7",
        "http.request.method": "POST",
        "http.route": "/v1/classify",
        "http.response.status_code": 200,
    }
    assert _attributes(third)["http.response.status_code"] == 415
    for request, stages in ((first, STAGES), (second, STAGES), (third, {"names", "decode"})):
        children = [span for span in received.spans if span.parent_span_id == request.span_id]
        assert {span.name for span in children} == stages
        for span in children:
            assert span.trace_id == request.trace_id
            begin, end = request.start_time_unix_nano, request.end_time_unix_nano
            assert begin <= span.start_time_unix_nano <= span.end_time_unix_nano <= end
    sent = b"".join(received.bodies)
    for private in (photo[100:140], b"secret", b"Animalia", b"none"):
        assert private not in sent


def test_what_fails_is_an_error_and_a_receiver_that_is_not_there_is_no_problem(args_without_triton: AppArgs) -> None:
    with receiver() as received:
        service = Service(args_without_triton.model_copy(update={"traces": received.url}))
        with TestClient(make_api(service)) as api:
            assert api.get("/readyz").status_code == 503
    (span,) = received.spans
    assert (span.name, span.status.code) == ("GET /readyz", Status.STATUS_CODE_ERROR)
    service = Service(args_without_triton.model_copy(update={"traces": received.url}))
    api = TestClient(make_api(service))
    assert api.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1:4318", "ftp://host", "http://", "http://host?key=1", ""),
        *("http://[::1", "http://host:99999", "http://host:port", "http://host:0"),
    ],
)
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(UserError, match=r"--traces .*give the address of an OTLP receiver"):
        require_endpoint(address)


def test_without_the_libraries_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(UserError, match=r"pip install 'trygon\[traces\]'"):
        require_endpoint("http://127.0.0.1:4318")

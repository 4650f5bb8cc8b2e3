"""Traces by OpenTelemetry: a span for each request and one for each of its stages, to a receiver of OTLP over HTTP.

Nothing of it is loaded unless it is asked for. Spans hold no picture, no key, no query and nothing of the answer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from starlette.types import Scope

from trygon.errors import UserError

_HEADERS = ("traceparent", "tracestate")
"""By which a client says which of its own spans a request belongs to (W3C)."""


class Traces:
    """Makes the spans of one process, and sends them in the background; what nobody takes is dropped."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is an address like http://127.0.0.1:4318. `UserError` where the libraries are missing."""
        require_endpoint(endpoint)
        exporter, sdk, export = _libraries()
        resource = sdk.resources.Resource.create({"service.name": "trygon"})
        self._provider = sdk.trace.TracerProvider(resource=resource)
        sender = exporter.OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(export.BatchSpanProcessor(sender))
        self._tracer = self._provider.get_tracer("trygon_serving")

    @contextmanager
    def request(self, scope: Scope, name: str) -> Iterator[Any]:
        """The span of a request, within the client's own where it tells of one; `name` is the request's."""
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        carrier = {key: headers[key] for key in _HEADERS if key in headers}
        context = TraceContextTextMapPropagator().extract(carrier, Context())
        attributes = {"trygon.request_id": name, "http.request.method": scope["method"]}
        with self._tracer.start_as_current_span(
            scope["method"],
            context,
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,  # what went wrong may quote what was sent
            set_status_on_exception=False,
        ) as span:
            yield span

    def ended(self, span: Any, method: str, path: str, status: int) -> None:
        """Say what became of a request; `path` is one that exists, or `other`."""
        from opentelemetry.trace import StatusCode

        span.update_name(f"{method} {path}")
        span.set_attributes({"http.route": path, "http.response.status_code": status})
        if status >= 500:
            span.set_status(StatusCode.ERROR)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The span of a stage, within that of its request."""
        with self._tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False):
            yield

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def require_endpoint(endpoint: str) -> None:
    """`UserError` for what is no address, or where the libraries are missing."""
    try:
        parts = urlsplit(endpoint)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.query
    except ValueError:
        is_address = False
    if not is_address:
        raise UserError(f"--traces {endpoint}: give the address of an OTLP receiver, like http://127.0.0.1:4318")
    _libraries()


def _libraries() -> tuple[Any, Any, Any]:
    try:
        import opentelemetry.sdk.resources
        import opentelemetry.sdk.trace
        import opentelemetry.sdk.trace.export
        from opentelemetry.exporter.otlp.proto.http import trace_exporter
    except ImportError as error:
        raise UserError("--traces needs OpenTelemetry: pip install 'trygon[traces]'") from error
    return trace_exporter, opentelemetry.sdk, opentelemetry.sdk.trace.export

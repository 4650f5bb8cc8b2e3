"""What Prometheus is told: how many ask, how long each stage takes, how sure the answers are (drift shows there)."""

from collections.abc import Iterable, Mapping
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.registry import Collector

from trygon_serving import wire

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)
_SHARES = tuple(tenth / 10 for tenth in range(1, 11))


Among = Literal["all", "clade", "names"]
"""What an answer was chosen from: all taxa of a label set, those of clades, or names of the request. Among few, the
best is more probable."""


class Replica(Collector):
    """Figures with the label of one replica: behind one address, each scrape sees those of another one."""

    def __init__(self, registry: CollectorRegistry, name: str) -> None:
        self._registry, self._label = registry, {"replica": name}

    def collect(self) -> Iterable[Metric]:
        """All figures, as they are now."""
        for metric in self._registry.collect():
            metric.samples = [sample._replace(labels=sample.labels | self._label) for sample in metric.samples]
            yield metric


class Metrics:
    """The figures of one process, in a registry of their own. `replica` is what tells it from others, where it has
    a name."""

    def __init__(self, replica: str = "") -> None:
        here = CollectorRegistry()
        self._told: Collector = Replica(here, replica) if replica else here
        self.requests = Counter("trygon_requests", "Requests by path and status", ["path", "status"], registry=here)
        self.seconds = Histogram("trygon_request_seconds", "Whole requests", ["path"], buckets=_SECONDS, registry=here)
        self.stages = Histogram(
            "trygon_stage_seconds",
            "Stages of requests, also of those that failed in them",
            ["path", "stage"],
            buckets=_SECONDS,
            registry=here,
        )
        self.images = Counter("trygon_images", "Images, answered or unusable", ["outcome"], registry=here)
        version = ["model", "version"]
        self.model_requests = Counter(
            "trygon_model_requests", "Requests by the version that had them", [*version, "status"], registry=here
        )
        self.model_seconds = Histogram(
            "trygon_model_seconds", "Their work in a version", version, buckets=_SECONDS, registry=here
        )
        self.in_work = Gauge("trygon_images_in_work", "Images that are being answered", registry=here)
        self.held = Gauge("trygon_held_bytes", "Room that is kept for bodies of requests", registry=here)
        chosen = [*version, "among"]
        self.ranks = Counter(
            "trygon_answers", "Answers by the rank of their taxon; none abstains", [*chosen, "rank"], registry=here
        )
        self.confidence = Histogram(
            "trygon_confidence", "Probability of the best taxon", chosen, buckets=_SHARES, registry=here
        )
        self.taxa = Gauge("trygon_label_set_taxa", "Taxa of each label set", ["model", "labels"], registry=here)

    def asked(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests.labels(path, status).inc()
        self.seconds.labels(path).observe(seconds)

    def used(self, model: str, version: str, status: int, seconds: float) -> None:
        """Count a request that a version of a model had."""
        self.model_requests.labels(model, version, status).inc()
        self.model_seconds.labels(model, version).observe(seconds)

    def spent(self, path: str, timings_ms: Mapping[str, float]) -> None:
        """Count how long each stage of a request took that a version had, whatever came of it."""
        for stage, value_ms in timings_ms.items():
            self.stages.labels(path, stage).observe(value_ms / 1000)

    def answered(self, reply: wire.Classification, among: Among) -> None:
        """Count the answers to the images of a request."""
        chosen = (reply.model.name, reply.model.version, among)
        for answer in reply.answers:
            self.images.labels("unusable" if answer.problem else "answered").inc()
            if answer.problem is None:
                self.ranks.labels(*chosen, (answer.taxon and answer.taxon.rank) or "none").inc()
            if answer.top:
                self.confidence.labels(*chosen).observe(answer.top[0].probability)

    def text(self) -> bytes:
        """All figures in Prometheus' own format."""
        return generate_latest(self._told)

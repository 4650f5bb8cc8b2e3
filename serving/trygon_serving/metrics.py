"""What Prometheus is told: how many ask, how long each stage takes, how sure the answers are (drift shows there)."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from trygon_serving import wire

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)
_SHARES = tuple(tenth / 10 for tenth in range(1, 11))


class Metrics:
    """The figures of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = here = CollectorRegistry()
        self.requests = Counter("trygon_requests", "Requests by path and status", ["path", "status"], registry=here)
        self.seconds = Histogram("trygon_request_seconds", "Whole requests", ["path"], buckets=_SECONDS, registry=here)
        self.stages = Histogram(
            "trygon_stage_seconds", "Stages of requests", ["stage"], buckets=_SECONDS, registry=here
        )
        self.images = Counter("trygon_images", "Images, answered or unusable", ["outcome"], registry=here)
        self.in_work = Gauge("trygon_images_in_work", "Images that are being answered", registry=here)
        self.held = Gauge("trygon_held_bytes", "Room that is kept for bodies of requests", registry=here)
        self.ranks = Counter(
            "trygon_answers", "Answers by the rank of their taxon; none abstains", ["rank"], registry=here
        )
        self.confidence = Histogram(
            "trygon_confidence", "Probability of the best taxon", buckets=_SHARES, registry=here
        )
        self.taxa = Gauge("trygon_label_set_taxa", "Taxa of each label set", ["labels"], registry=here)

    def asked(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests.labels(path, status).inc()
        self.seconds.labels(path).observe(seconds)

    def answered(self, reply: wire.Classification) -> None:
        """Count the answers to the images of a request."""
        for stage, value_ms in reply.timings_ms.items():
            self.stages.labels(stage).observe(value_ms / 1000)
        for answer in reply.answers:
            self.images.labels("unusable" if answer.problem else "answered").inc()
            if answer.problem is None:
                self.ranks.labels((answer.taxon and answer.taxon.rank) or "none").inc()
            if answer.top:
                self.confidence.observe(answer.top[0].probability)

    def text(self) -> bytes:
        """All figures in Prometheus' own format."""
        return generate_latest(self.registry)

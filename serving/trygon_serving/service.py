"""What answers requests: one model behind one Triton, the label sets, and what is kept between requests.

Knows nothing of HTTP but its problems. Image work and products run in threads, so that the event loop stays free.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from trygon.errors import UserError
from trygon.models.folder import ImageTower
from trygon_serving import wire
from trygon_serving.admission import Admission
from trygon_serving.answers import LabelChoice, NameChoice
from trygon_serving.keys import Keys
from trygon_serving.labels import LabelSet, LabelSets
from trygon_serving.limits import Limits
from trygon_serving.metrics import Metrics
from trygon_serving.pictures import Pictures
from trygon_serving.problem import Problem
from trygon_serving.runs import Runs
from trygon_serving.triton import TritonEncoder
from trygon_serving.vocabulary import Vocabulary


class AppArgs(BaseModel):
    """The arguments of the application, as a RayService's `args` gives them."""

    model_config = ConfigDict(extra="forbid")

    labels: dict[str, str] = Field(min_length=1)
    """LabelBank folders by the name that requests call them; the first is the default."""
    triton: str
    """HOST:PORT of Triton's gRPC."""
    model: str = ""
    """How the model is named in answers; by default as Triton's configuration names it."""
    checklists: dict[str, str] = {}
    """Lists of the names that may be given, by the name that requests call them."""
    runs: dict[str, str] = {}
    """Run folders that `/v1/similar` searches in, by the name that requests call them; the first is the default."""
    keys: str = ""
    """A file of API keys; without it everyone who reaches the server may ask."""
    log: str = ""
    """A file for the log of requests; by default standard error."""
    limits: Limits = Limits()


class Stopwatch:
    """Milliseconds spent in each stage of a request."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._spent: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._spent[name] = 1000 * (time.perf_counter() - start)

    @property
    def timings_ms(self) -> dict[str, float]:
        """The stages and the total."""
        total = 1000 * (time.perf_counter() - self._start)
        return {name: round(value, 2) for name, value in (self._spent | {"total": total}).items()}


class Service:
    """Answers with the label sets of its arguments and the model behind its Triton."""

    def __init__(self, args: AppArgs) -> None:
        """Load the label sets. `UserError` where one is no finished LabelBank."""
        self.args, self.limits = args, args.limits
        self.sets = LabelSets(args.labels, args.checklists)
        self.runs = Runs(args.runs)
        self.encoder = TritonEncoder(args.triton)
        self.admission = Admission(self.limits)
        self.keys = Keys(Path(args.keys)) if args.keys else None
        self.metrics = Metrics()
        self.metrics.in_work.set_function(lambda: self.admission.images)
        self.metrics.held.set_function(lambda: self.admission.bytes)
        self._vocabulary = Vocabulary(self.encoder)
        self._pictures = Pictures(self.limits.pixels)

    async def run(self) -> None:
        """What goes on beside the requests, until cancelled."""
        await self.sets.watch(lambda: self.encoder.known_tower)

    async def tower(self) -> ImageTower:
        """The model behind Triton, by the name that answers give it. Raises `Problem` 503."""
        tower = await self.encoder.tower()
        return replace(tower, ref=self.args.model or tower.ref)

    async def require_ready(self) -> None:
        """`Problem` 503 unless an image would get an answer now."""
        self._require_fit(self.sets.get(None), await self.tower())
        if not await self.encoder.is_ready():
            raise Problem(503, "The encoder is not available", retry_after_s=2)

    async def classify(self, images: Sequence[bytes], options: wire.Options) -> wire.Classification:
        """What is on each image. Raises `Problem` where none of them can be used."""
        watch = Stopwatch()
        tower = await self.tower()
        labels = self.sets.get(options.labels)
        self._require_fit(labels, tower)
        with watch.stage("names"):
            choice = await self._choice(labels, options)
        vectors = await self._vectors(images, tower, watch)
        found = [it for it in vectors if not isinstance(it, Problem)]
        with watch.stage("classify"):
            answers = iter(await asyncio.to_thread(choice.answers, np.stack(found), options))
        reply = wire.Classification(
            answers=[wire.Answer(problem=it.document) if isinstance(it, Problem) else next(answers) for it in vectors],
            floor=options.floor,
            rank=options.rank,
            model=model_card(tower),
            labels=choice.card,
            timings_ms=watch.timings_ms,
        )
        self.metrics.answered(reply)
        return reply

    def figures(self) -> bytes:
        """What Prometheus is told."""
        for labels in self.sets.cards().label_sets:
            self.metrics.taxa.labels(labels.name).set(labels.num_taxa)
        return self.metrics.text()

    async def embed(self, images: Sequence[bytes]) -> wire.Embeddings:
        """The unit vector of each image. Raises `Problem` where none of them can be used."""
        watch = Stopwatch()
        tower = await self.tower()
        vectors = await self._vectors(images, tower, watch)
        embeddings = [
            wire.Embedding(problem=it.document) if isinstance(it, Problem) else wire.Embedding(vector=it.tolist())
            for it in vectors
        ]
        return wire.Embeddings(embeddings=embeddings, model=model_card(tower), timings_ms=watch.timings_ms)

    async def similar(self, images: Sequence[bytes], options: wire.SimilarOptions) -> wire.SimilarReply:
        """The observations of a run that look like each image. Raises `Problem` where none of them can be used."""
        watch = Stopwatch()
        run, tower = self.runs.get(options.run), await self.tower()
        run.require_model(tower)
        vectors = await self._vectors(images, tower, watch)
        found = np.stack([it for it in vectors if not isinstance(it, Problem)])
        with watch.stage("search"):
            neighbours = iter(await asyncio.to_thread(run.nearest, found, options))
        answers = [
            wire.Similar(problem=it.document) if isinstance(it, Problem) else wire.Similar(neighbours=next(neighbours))
            for it in vectors
        ]
        card = model_card(tower)
        return wire.SimilarReply(answers=answers, run=run.name, model=card, timings_ms=watch.timings_ms)

    async def _vectors(
        self, images: Sequence[bytes], tower: ImageTower, watch: Stopwatch
    ) -> list[np.ndarray | Problem]:
        """The vector (D,) of each image, or why there is none; the first of these problems where no image has one."""
        with watch.stage("decode"):
            pictures = await self._pictures.decode(images, tower)
        usable = [it for it in pictures if not isinstance(it, Problem)]
        if not usable:
            raise next(it for it in pictures if isinstance(it, Problem))
        with watch.stage("encode"):
            vectors = iter(await self.encoder.encode(np.stack(usable), self.limits.answer_s))
        return [it if isinstance(it, Problem) else next(vectors) for it in pictures]

    async def _choice(self, labels: LabelSet, options: wire.Options) -> LabelChoice | NameChoice:
        self.sets.require_checklist(options.checklist)
        if not options.names:
            return await asyncio.to_thread(labels.choice, options.clade, options.checklist)
        if options.clade or options.checklist:
            raise Problem(422, "The request is not valid", "names stand alone: without clade and checklist")
        names = list(dict.fromkeys(options.names))
        vector_ND = await self._vocabulary.vectors(names, self.limits.answer_s)
        return await asyncio.to_thread(labels.named, names, vector_ND)

    def _require_fit(self, labels: LabelSet, tower: ImageTower) -> None:
        try:
            labels.bank.require_model(tower)
        except UserError as error:
            raise Problem(503, "The labels do not fit the model", str(error), retry_after_s=30) from error


def model_card(tower: ImageTower) -> wire.ModelCard:
    """Which weights answer."""
    return wire.ModelCard(ref=tower.ref, digest=tower.digest)

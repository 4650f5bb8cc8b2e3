"""What answers requests: the models behind one Triton, their label sets, and what is kept between requests.

Knows nothing of HTTP but its problems. Image work and products run in threads, so that the event loop stays free.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from trygon.labelling.lists import read_names
from trygon.models.folder import model_key
from trygon_serving import wire
from trygon_serving.admission import Admission
from trygon_serving.answers import LabelChoice, NameChoice
from trygon_serving.args import AppArgs
from trygon_serving.catalogue import require_shares
from trygon_serving.galleries import Galleries, ServedGallery
from trygon_serving.keys import Keys
from trygon_serving.labels import LabelSet
from trygon_serving.lookups import Lookups
from trygon_serving.metrics import Metrics
from trygon_serving.models import Models
from trygon_serving.pictures import Pictures
from trygon_serving.problem import GONE, Problem
from trygon_serving.repository import Repository
from trygon_serving.runs import Runs, SearchedRun
from trygon_serving.stopwatch import Stopwatch
from trygon_serving.supply import Supply
from trygon_serving.traces import Traces
from trygon_serving.triton_figures import TritonFigures
from trygon_serving.versions import Version

_UNLOAD_AFTER_S = 2.0
"""Beyond the time that a request may take: a replica that has not yet seen the newer file is done by then."""


class Service:
    """Answers with the models of its arguments, whose encoders its Triton holds."""

    def __init__(self, args: AppArgs, replica: str = "") -> None:
        """`UserError` where the models' file, a checklist, a run, a gallery or the keys cannot be read."""
        self.args, self.limits = args, args.limits
        if isinstance(args.models, dict):
            require_shares(args.models, "models")
        checklists = {name: read_names(place, "--checklist") for name, place in args.checklists.items()}
        repository = Repository(args.triton, args.repository)
        self.supply = Supply(args.models, repository, checklists, self.limits.answer_s + _UNLOAD_AFTER_S)
        self.models = Models(self.supply, checklists)
        self.runs, self.galleries = Runs(args.runs), Galleries(args.galleries)
        self.admission, self.lookups = Admission(self.limits), Lookups()
        self.keys = Keys(Path(args.keys)) if args.keys else None
        self.metrics = Metrics(replica)
        self.traces = Traces(args.traces) if args.traces else None
        self.metrics.in_work.set_function(lambda: self.admission.images)
        self.metrics.held.set_function(lambda: self.admission.bytes)
        self._pictures = Pictures(self.limits.pixels)
        self._queue = TritonFigures(args.triton_metrics) if args.triton_metrics else None
        self._shared = TritonFigures(args.shared_metrics) if args.shared_metrics else None

    async def classify(self, images: Sequence[bytes], options: wire.Options) -> wire.Classification:
        """What is on each image. Raises `Problem` where none of them can be used."""
        watch = Stopwatch("/v1/classify", self.traces)
        async with self._using(self.models.choose(options.model, options.labels), watch) as version:
            with watch.stage("names"):
                choice = await self._choice(version, version.sets.get(options.labels), options)
            # Only now: text vectors that are made anew take many times what an image takes.
            with self.admission.work(len(images)):
                vectors = await self._vectors(images, version, watch)
                found_BD = _usable(vectors)
                with watch.stage("classify"):
                    answers = await choice.answers(found_BD, options)
                if options.examples:
                    with watch.stage("examples"):
                        answers = await asyncio.to_thread(
                            self._with_examples, answers, found_BD, version, options.examples
                        )
        named = iter(answers)
        reply = wire.Classification(
            answers=[wire.Answer(problem=it.document) if isinstance(it, Problem) else next(named) for it in vectors],
            floor=options.floor,
            rank=options.rank,
            model=version.card,
            labels=choice.card,
            timings_ms=watch.timings_ms,
        )
        self.metrics.answered(reply, "names" if options.names else "clade" if options.clade else "all")
        return reply

    async def encoder_queue(self) -> float | None:
        """The images that wait in a Triton of our own, as a share of those that may be in work now; None where there
        is no such Triton, or it does not answer."""
        pending = await self._queue.pending() if self._queue else None
        return None if pending is None else self.admission.share_of(pending)

    async def figures(self) -> bytes:
        """What Prometheus is told, by a Triton that all replicas share too."""
        self.metrics.taxa.clear()
        for labels in self.models.label_sets().label_sets:
            self.metrics.taxa.labels(labels.model, labels.name).set(labels.num_taxa)
        triton = await self._shared.text() if self._shared else ""
        return self.metrics.text() + triton.encode()

    async def embed(self, images: Sequence[bytes], options: wire.EmbedOptions) -> wire.Embeddings:
        """The unit vector of each image. Raises `Problem` where none of them can be used."""
        watch = Stopwatch("/v1/embed", self.traces)
        version = self.models.choose(options.model, None)
        async with self._using(version, watch):
            with self.admission.work(len(images)):
                vectors = await self._vectors(images, version, watch)
        embeddings = [
            wire.Embedding(problem=it.document) if isinstance(it, Problem) else wire.Embedding(vector=it.tolist())
            for it in vectors
        ]
        return wire.Embeddings(embeddings=embeddings, model=version.card, timings_ms=watch.timings_ms)

    async def similar(self, images: Sequence[bytes], options: wire.SimilarOptions) -> wire.SimilarReply:
        """What looks like each image in a run or a gallery. Raises `Problem` where none of them can be used."""
        watch = Stopwatch("/v1/similar", self.traces)
        searched = self._searched(options)
        version = self.models.made_with(searched.model, searched.encoder)
        if version is None:
            detail = f"{searched.name!r} was made with another model than those that are ready"
            raise Problem(503, f"The {searched.kind} does not fit the model", detail, retry_after_s=30)
        async with self._using(version, watch):
            with self.admission.work(len(images)):
                vectors = await self._vectors(images, version, watch)
                with watch.stage("search"):
                    similar = iter(await asyncio.to_thread(searched.nearest, _usable(vectors), options))
        answers = [wire.Similar(problem=it.document) if isinstance(it, Problem) else next(similar) for it in vectors]
        reply = wire.SimilarReply(answers=answers, model=version.card, timings_ms=watch.timings_ms)
        return reply.model_copy(update={searched.kind: searched.name})

    def _with_examples(
        self, answers: Sequence[wire.Answer], vector_BD: np.ndarray, version: Version, k: int
    ) -> list[wire.Answer]:
        """Answers with the pictures of what is shown, of galleries that the same weights made."""
        key = model_key(version.weights)
        return [
            answer.model_copy(update={"examples": self.galleries.examples(key, vector_D, answer.shown, k)})
            if answer.shown
            else answer
            for answer, vector_D in zip(answers, vector_BD, strict=True)
        ]

    def _searched(self, options: wire.SimilarOptions) -> SearchedRun | ServedGallery:
        """What a request searches in. `Problem` 422 for a name that is not there or both, 404 where there is
        nothing."""
        if options.run and options.gallery:
            raise Problem(422, "The request is not valid", "run and gallery: give one of them")
        if options.gallery or (not options.run and not len(self.runs) and len(self.galleries)):
            return self.galleries.get(options.gallery)
        return self.runs.get(options.run)

    @asynccontextmanager
    async def _using(self, version: Version, watch: Stopwatch) -> AsyncIterator[Version]:
        """Hold a version for a request as long as its answer may take, and count what came of it and how long its
        stages took, also those of a request that gets no answer. `Problem` 504."""
        version.in_use += 1
        status, start_s = 500, time.perf_counter()
        try:
            async with asyncio.timeout(self.limits.answer_s):
                yield version
            status = 200
        except TimeoutError as error:
            status = 504
            raise Problem(504, "No answer in time", f"within {self.limits.answer_s:.0f} s", retry_after_s=2) from error
        except Problem as problem:
            status = problem.status
            raise
        except asyncio.CancelledError:
            status = GONE
            raise
        finally:
            version.in_use -= 1
            self.metrics.used(version.model, version.name, status, time.perf_counter() - start_s)
            self.metrics.spent(watch.path, watch.timings_ms)

    async def _vectors(
        self, images: Sequence[bytes], version: Version, watch: Stopwatch
    ) -> list[np.ndarray | Problem]:
        """The vector (D,) of each image, or why there is none; the first of these problems where no image has one."""
        with watch.stage("decode"):
            pictures = await self._pictures.decode(images, version.tower)
        image_BCHW = _usable(pictures)
        with watch.stage("encode"):
            vectors = iter(await version.encoder.encode(image_BCHW, self.limits.answer_s))
        return [it if isinstance(it, Problem) else next(vectors) for it in pictures]

    async def _choice(self, version: Version, labels: LabelSet, options: wire.Options) -> LabelChoice | NameChoice:
        self.models.require_checklist(options.checklist)
        if not options.names:
            return await labels.choice(options.clade, options.checklist, self.lookups)
        if options.clade or options.checklist:
            raise Problem(422, "The request is not valid", "names stand alone: without clade and checklist")
        names = list(dict.fromkeys(options.names))
        vector_ND = await version.vocabulary.vectors(names, self.limits.answer_s)
        return await self.lookups.run(lambda: labels.named(names, vector_ND))


def _usable(found: Sequence[np.ndarray | Problem]) -> np.ndarray:
    """What there is of some images, as one array (B, …); the first of their problems where no image has any."""
    usable = [it for it in found if not isinstance(it, Problem)]
    if not usable:
        raise next(it for it in found if isinstance(it, Problem))
    return np.stack(usable)

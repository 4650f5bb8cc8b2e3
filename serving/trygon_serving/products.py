"""Products with the vectors of many taxa: one after the other, each for all the pictures that wait by then.

A product reads the vectors of all taxa, for one picture as for twenty. Those of several requests share it.
"""

import asyncio
from collections import deque

import numpy as np

from trygon.labelling.classification import Classifier

_MOST_PROBABILITIES = 4_000_000
"""At once: many pictures against a million taxa go one after the other."""

Asked = tuple[np.ndarray, asyncio.Future[np.ndarray]]


class Products:
    """Those of one classifier. Used from within one event loop, which stays free."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.most_rows = max(1, _MOST_PROBABILITIES // len(classifier.bank.tree))
        """Vectors in one product."""
        self._waiting: deque[Asked] = deque()
        self._work: asyncio.Task[None] | None = None

    async def probabilities(self, vector_BD: np.ndarray) -> np.ndarray:
        """Of all taxa, for at most `most_rows` vectors: (B, N) float32."""
        future: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()
        self._waiting.append((vector_BD, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._answer_all())
        return await future

    async def _answer_all(self) -> None:
        while asked := self._next():
            try:
                vector_BD = np.concatenate([vectors for vectors, _ in asked])
                probability_BN = await asyncio.to_thread(self.classifier.probabilities, vector_BD)
            except Exception as error:
                for _, future in asked:
                    if not future.done():
                        future.set_exception(error)
                continue
            ends = np.cumsum([len(vectors) for vectors, _ in asked])
            for part_BN, (_, future) in zip(np.split(probability_BN, ends[:-1]), asked, strict=True):
                if not future.done():
                    future.set_result(part_BN)

    def _next(self) -> list[Asked]:
        """The first that wait, as many as go in one product, without those whom nobody waits for any more."""
        asked: list[Asked] = []
        num_rows = 0
        while self._waiting and (not asked or num_rows + len(self._waiting[0][0]) <= self.most_rows):
            vectors, future = self._waiting.popleft()
            if not future.done():
                asked.append((vectors, future))
                num_rows += len(vectors)
        return asked

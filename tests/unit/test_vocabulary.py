"""What is kept of the names that requests bring: so much and no more, whatever becomes of the requests."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from trygon.models.triton_config import MAX_BATCH
from trygon_serving.problem import Problem
from trygon_serving.vocabulary import Vectors, Vocabulary


def test_the_least_lately_used_are_forgotten_with_each_that_comes() -> None:
    kept = Vectors(3)
    for number, name in enumerate("abc"):
        kept.put(name, np.full(4, number))
    assert kept.get("a") is not None
    kept.put("d", np.full(4, 3))
    assert [vector_D is not None for vector_D in map(kept.get, "abcd")] == [True, False, True, True]
    for number in range(100):
        kept.put(str(number), np.zeros(4))
        assert sum(kept.get(str(it)) is not None for it in range(100)) == min(number + 1, 3)


def test_a_row_that_is_kept_does_not_keep_its_batch() -> None:
    kept, vector_BD = Vectors(3), np.eye(32, dtype=np.float32)
    kept.put("fox", vector_BD[7])
    vector_D = kept.get("fox")
    assert vector_D is not None
    assert vector_D.tolist() == vector_BD[7].tolist()
    assert vector_D.base is None


class Encoding:
    """Gives each caption the vector of its length, once it may go on, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.go_on = asyncio.Event()

    async def __call__(self, texts: Sequence[str], timeout_s: float) -> np.ndarray:
        assert len(texts) <= MAX_BATCH
        self.asked.update(texts)
        await asyncio.wait_for(self.go_on.wait(), timeout_s)
        return np.asarray([[len(text)] for text in texts], np.float32)


def _lengths(names: Sequence[str]) -> list[list[float]]:
    return [[len(f"a photo of {name}.")] for name in names]


def _run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def test_a_name_that_several_requests_bring_is_encoded_once() -> None:
    names = [f"name {number}" for number in range(200)]

    async def run() -> None:
        encoding = Encoding()
        vocabulary = Vocabulary(encoding)
        lists = [names, names, names[50:], ["a fox", *names[:3]]]
        asked = [asyncio.create_task(vocabulary.vectors(it, 30)) for it in lists]
        await asyncio.sleep(0)
        encoding.go_on.set()
        for some, vector_ND in zip(lists, await asyncio.gather(*asked), strict=True):
            assert vector_ND.tolist() == _lengths(some)
        assert set(encoding.asked.values()) == {1}
        assert len(encoding.asked) == 201
        assert (await vocabulary.vectors(["a fox", "a fox"], 30)).tolist() == _lengths(["a fox", "a fox"])

    _run(run())


def test_who_goes_away_takes_no_names_from_the_others() -> None:
    async def run() -> None:
        encoding = Encoding()
        vocabulary = Vocabulary(encoding)
        first, other = (asyncio.create_task(vocabulary.vectors(it, 30)) for it in (["fox"], ["fox", "hare"]))
        late = asyncio.create_task(asyncio.wait_for(vocabulary.vectors(["fox"], 30), 0.01))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(TimeoutError):
            await late
        encoding.go_on.set()
        assert (await other).tolist() == _lengths(["fox", "hare"])
        assert encoding.asked.total() == 2

    _run(run())


def test_what_fails_is_told_to_all_who_wait_and_tried_again_by_the_next() -> None:
    async def run() -> None:
        encoding = Encoding()
        vocabulary = Vocabulary(encoding)
        asked = [vocabulary.vectors(["fox"], 0.01) for _ in range(3)]
        for failed in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(failed, TimeoutError)
        encoding.go_on.set()
        assert (await vocabulary.vectors(["fox"], 30)).tolist() == _lengths(["fox"])
        assert encoding.asked.total() == 2

    _run(run())


def test_more_requests_than_may_wait_for_new_names_are_refused_and_known_names_are_not() -> None:
    async def run() -> None:
        encoding = Encoding()
        vocabulary = Vocabulary(encoding)
        encoding.go_on.set()
        await vocabulary.vectors(["fox"], 30)
        encoding.go_on.clear()
        waiting = [asyncio.create_task(vocabulary.vectors([f"name {number}"], 30)) for number in range(16)]
        await asyncio.sleep(0)
        with pytest.raises(Problem, match="Too many names wait") as caught:
            await vocabulary.vectors(["name 0"], 30)
        assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "2")
        assert (await vocabulary.vectors(["fox"], 30)).tolist() == _lengths(["fox"])
        waiting.pop().cancel()
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(vocabulary.vectors(["another"], 30)))
        encoding.go_on.set()
        assert len(await asyncio.gather(*waiting)) == 16

    _run(run())

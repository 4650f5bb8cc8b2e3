"""Searches beside classification: so many wait, and no more."""

import asyncio
import threading

import pytest

from trygon_serving.lookups import Lookups
from trygon_serving.problem import Problem


def test_more_searches_than_may_wait_are_refused_and_other_threads_stay_free() -> None:
    go_on, begun = threading.Event(), threading.Semaphore(0)

    def search() -> str:
        begun.release()
        go_on.wait(60)
        return threading.current_thread().name

    async def run() -> None:
        lookups = Lookups(most=4)
        waiting = [asyncio.ensure_future(lookups.run(search)) for _ in range(4)]
        await asyncio.to_thread(begun.acquire)
        with pytest.raises(Problem, match="Too many searches") as caught:
            await lookups.run(search)
        assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "1")
        waiting.pop().cancel()
        await asyncio.sleep(0)
        waiting.append(asyncio.ensure_future(lookups.run(search)))
        go_on.set()
        assert all(name.startswith("lookup") for name in await asyncio.gather(*waiting))
        assert await lookups.run(lambda: "a free one") == "a free one"

    asyncio.run(asyncio.wait_for(run(), 60))


def test_what_a_search_raises_comes_through_and_gives_its_place_back() -> None:
    def search() -> None:
        raise Problem(404, "No such clade")

    async def run() -> None:
        lookups = Lookups(most=1)
        for _ in range(3):
            with pytest.raises(Problem, match="No such clade"):
                await lookups.run(search)

    asyncio.run(asyncio.wait_for(run(), 60))

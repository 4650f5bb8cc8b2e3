"""Load on a classifier, from a process of its own: `python load.py PLAN`, where PLAN is a `Plan` as JSON.

Sends the pictures of a folder, in turn, and prints an `Outcome` as JSON. Without a rate, every connection asks again
as soon as it is answered: what comes back is saturation. With a rate, requests go out when they are due, whatever
became of those before, and latencies count from then. Over HTTP a request is a JPEG; over gRPC it is its pixels,
decoded and resized before the clock starts.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import aiohttp
import numpy as np
import tritonclient.grpc.aio as triton

from trygon.data.images import ResizeMode, preprocess
from trygon.models.export import ENCODER, INPUT

Ask = Callable[[bytes | np.ndarray], Awaitable[int]]
"""Sends one picture; the status of the answer, 0 where the connection broke, -1 for a 503 without Retry-After."""

_GRACE_S = 30


@dataclass(frozen=True)
class Plan:
    """What to send where."""

    protocol: Literal["http", "grpc"]
    address: str
    pictures: str
    seconds: float
    connections: int = 64
    rate: float | None = None
    side: int = 224
    field: str = "image"


@dataclass(frozen=True)
class Reply:
    """One answer: when it was due and how long it took."""

    due_s: float
    seconds: float
    status: int


@dataclass(frozen=True)
class Outcome:
    """All answers that came within the time."""

    served_per_s: float
    asked_per_s: float
    statuses: dict[str, int]
    p50_ms: float
    p99_ms: float
    refused_p50_ms: float
    refused_p99_ms: float
    gap_s: float
    """The longest time without an answer of 200."""


async def run(plan: Plan) -> Outcome:
    """Send, and sum up."""
    data = [path.read_bytes() for path in sorted(Path(plan.pictures).glob("*.jpg"))]
    async with AsyncExitStack() as stack:
        if plan.protocol == "grpc":
            mode = ResizeMode.SQUASH
            ask, items = await _over_grpc(plan, stack), [preprocess(it, plan.side, mode) for it in data]
        else:
            ask, items = await _over_http(plan, stack), data
        await ask(items[0])
        start = time.perf_counter()
        sender = _paced if plan.rate else _saturating
        replies = await sender(plan, ask, itertools.cycle(items), start)
    return _summed(plan, replies, start)


async def _over_http(plan: Plan, stack: AsyncExitStack) -> Ask:
    timeout = aiohttp.ClientTimeout(total=_GRACE_S)
    connector = aiohttp.TCPConnector(limit=0)
    session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, connector=connector))

    async def ask(picture: bytes | np.ndarray) -> int:
        form = aiohttp.FormData()
        form.add_field(plan.field, picture, filename="photo.jpg", content_type="image/jpeg")
        try:
            async with session.post(plan.address, data=form) as response:
                await response.read()
                told = response.status != 503 or "Retry-After" in response.headers
                return response.status if told else -1
        except (TimeoutError, aiohttp.ClientError, OSError):
            return 0

    return ask


async def _over_grpc(plan: Plan, stack: AsyncExitStack) -> Ask:
    client = await stack.enter_async_context(triton.InferenceServerClient(plan.address))

    async def ask(picture: bytes | np.ndarray) -> int:
        assert isinstance(picture, np.ndarray)
        tensor = triton.InferInput(INPUT, [1, *picture.shape], "UINT8")
        tensor.set_data_from_numpy(picture[None])
        await client.infer(ENCODER, [tensor])
        return 200

    return ask


async def _saturating(plan: Plan, ask: Ask, pictures: Iterator[bytes | np.ndarray], start: float) -> list[Reply]:
    replies: list[Reply] = []

    async def again() -> None:
        while (due := time.perf_counter()) - start < plan.seconds:
            status = await ask(next(pictures))
            replies.append(Reply(due, time.perf_counter() - due, status))
            if status != 200:
                await asyncio.sleep(0.05)

    await asyncio.gather(*(again() for _ in range(plan.connections)))
    return replies


async def _paced(plan: Plan, ask: Ask, pictures: Iterator[bytes | np.ndarray], start: float) -> list[Reply]:
    assert plan.rate
    replies: list[Reply] = []

    async def once(due: float) -> None:
        status = await ask(next(pictures))
        replies.append(Reply(due, time.perf_counter() - due, status))

    async with asyncio.TaskGroup() as group:
        # As independent people ask: the times between requests are exponential.
        gaps = np.random.default_rng(0).exponential(1 / plan.rate, int(plan.rate * plan.seconds))
        for due in start + np.cumsum(gaps):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(once(due))
    return replies


def _summed(plan: Plan, replies: list[Reply], start: float) -> Outcome:
    served = [it for it in replies if it.status == 200]
    # What was still under way at the end came after its time: counting it would flatter.
    ends = np.sort([it.due_s + it.seconds - start for it in served])
    in_time = float(np.sum(ends <= plan.seconds))
    gaps = np.diff([0.0, *ends[ends <= plan.seconds], plan.seconds])
    low, high = _percentiles_ms(served)
    refused_low, refused_high = _percentiles_ms([it for it in replies if it.status in (503, -1)])
    return Outcome(
        served_per_s=in_time / plan.seconds,
        asked_per_s=len(replies) / plan.seconds,
        statuses={str(status): count for status, count in Counter(it.status for it in replies).items()},
        p50_ms=low,
        p99_ms=high,
        refused_p50_ms=refused_low,
        refused_p99_ms=refused_high,
        gap_s=float(gaps.max()),
    )


def _percentiles_ms(replies: list[Reply]) -> tuple[float, float]:
    if not replies:
        return float("nan"), float("nan")
    low, high = np.percentile([1000 * it.seconds for it in replies], [50, 99])
    return float(low), float(high)


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(run(Plan(**json.loads(sys.argv[1])))))))

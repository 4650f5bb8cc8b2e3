"""Load on a classifier, from a process of its own: `python load.py PLAN`, where PLAN is a `Plan` as JSON.

Sends the pictures of a folder, in turn, and prints an `Outcome` as JSON. Without a rate, every connection asks again
as soon as it is answered, or after the time that a refusal names: what comes back is saturation. With a rate, requests
go out when they are due, whatever became of those before, and latencies count from then. Over HTTP a request is a
JPEG; over gRPC it is its pixels, decoded and resized before the clock starts, or with `grpc-jpeg` as they are sent.
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
from typing import Literal, NamedTuple

import aiohttp
import numpy as np
import tritonclient.grpc.aio as triton

from trygon.data.images import ResizeMode, preprocess
from trygon.models.triton_config import ENCODER, INPUT


class Answer(NamedTuple):
    """What came back: the status, 0 where the connection broke; and when to come again, where that was said."""

    status: int
    retry_after_s: float | None = None


Ask = Callable[[bytes | np.ndarray], Awaitable[Answer]]
"""Sends one picture."""

_GRACE_S = 30
_TOGETHER_S = 0.05
"""What is answered within it of the first answer was in one batch with it."""
_MODE = ResizeMode.SQUASH
_BOUNDARY = "trygon-load"
_FORM = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}


@dataclass(frozen=True)
class Plan:
    """What to send where."""

    protocol: Literal["http", "grpc", "grpc-jpeg"]
    address: str
    pictures: str
    seconds: float
    connections: int = 64
    rate: float | None = None
    evenly: bool = False
    """With a rate: all gaps alike, and not as independent people ask."""
    side: int = 224
    field: str = "image"


@dataclass(frozen=True)
class Reply:
    """One answer: when it was due and how long it took. The status is -1 for a 503 without Retry-After."""

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
    client_cpu_ms: float
    """What a request cost this process, on the same CPUs."""


async def run(plan: Plan) -> Outcome:
    """Send, and sum up."""
    data = [path.read_bytes() for path in sorted(Path(plan.pictures).glob("*.jpg"))]
    async with AsyncExitStack() as stack:
        if plan.protocol == "http":
            ask, items = await _over_http(plan, stack), [_form(it, plan.field) for it in data]
        else:
            ask = await _over_grpc(plan, stack)
            items = data if plan.protocol == "grpc-jpeg" else [preprocess(it, plan.side, _MODE) for it in data]
        await ask(items[0])
        start, cpu_s = time.perf_counter(), time.process_time()
        sender = _paced if plan.rate else _saturating
        replies = await sender(plan, ask, itertools.cycle(items), start)
        cpu_ms = 1000 * (time.process_time() - cpu_s) / max(1, len(replies))
    return _summed(plan, replies, start, cpu_ms)


async def _over_http(plan: Plan, stack: AsyncExitStack) -> Ask:
    timeout = aiohttp.ClientTimeout(total=_GRACE_S)
    connector = aiohttp.TCPConnector(limit=0)
    session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, connector=connector))

    async def ask(form: bytes | np.ndarray) -> Answer:
        try:
            async with session.post(plan.address, data=form, headers=_FORM) as response:
                await response.read()
                pause = response.headers.get("Retry-After")
                return Answer(response.status, None if pause is None else float(pause))
        except (TimeoutError, aiohttp.ClientError, OSError):
            return Answer(0)

    return ask


def _form(picture: bytes, field: str) -> bytes:
    """A picture as a form, made once: at five times saturation the client's own work would be what is measured."""
    head = f'Content-Disposition: form-data; name="{field}"; filename="photo.jpg"\r\nContent-Type: image/jpeg'
    return b"".join([f"--{_BOUNDARY}\r\n{head}\r\n\r\n".encode(), picture, f"\r\n--{_BOUNDARY}--\r\n".encode()])


async def _over_grpc(plan: Plan, stack: AsyncExitStack) -> Ask:
    client = await stack.enter_async_context(triton.InferenceServerClient(plan.address))

    async def ask(picture: bytes | np.ndarray) -> Answer:
        if isinstance(picture, bytes):
            picture = await asyncio.to_thread(preprocess, picture, plan.side, _MODE)
        tensor = triton.InferInput(INPUT, [1, *picture.shape], "UINT8")
        tensor.set_data_from_numpy(picture[None])
        await client.infer(ENCODER, [tensor])
        return Answer(200)

    return ask


async def _saturating(plan: Plan, ask: Ask, pictures: Iterator[bytes | np.ndarray], start: float) -> list[Reply]:
    replies: list[Reply] = []

    rng = np.random.default_rng(0)

    async def again() -> None:
        while (due := time.perf_counter()) - start < plan.seconds:
            answer = await ask(next(pictures))
            replies.append(_reply(due, answer))
            if answer.status != 200:
                # As a client should: those that were refused together do not come again together.
                await asyncio.sleep((answer.retry_after_s or 0.1) * rng.uniform(1, 1.5))

    await asyncio.gather(*(again() for _ in range(plan.connections)))
    return replies


async def _paced(plan: Plan, ask: Ask, pictures: Iterator[bytes | np.ndarray], start: float) -> list[Reply]:
    assert plan.rate
    replies: list[Reply] = []

    async def once(due: float) -> None:
        replies.append(_reply(due, await ask(next(pictures))))

    async with asyncio.TaskGroup() as group:
        num_requests = int(plan.rate * plan.seconds)
        if plan.evenly:
            gaps = np.full(num_requests, 1 / plan.rate)
        else:  # as independent people ask: the times between requests are exponential
            gaps = np.random.default_rng(0).exponential(1 / plan.rate, num_requests)
        for due in start + np.cumsum(gaps):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(once(due))
    return replies


def _reply(due: float, answer: Answer) -> Reply:
    untold = answer.status == 503 and answer.retry_after_s is None
    return Reply(due, time.perf_counter() - due, -1 if untold else answer.status)


def _summed(plan: Plan, replies: list[Reply], start: float, cpu_ms: float) -> Outcome:
    served = [it for it in replies if it.status == 200]
    # What was still under way at the end came after its time: counting it would flatter.
    ends = np.sort([it.due_s + it.seconds - start for it in served])
    ends = ends[ends <= plan.seconds]
    gaps = np.diff([0.0, *ends, plan.seconds])
    low, high = _percentiles_ms(served)
    refused_low, refused_high = _percentiles_ms([it for it in replies if it.status in (503, -1)])
    return Outcome(
        served_per_s=_rate(ends),
        asked_per_s=len(replies) / plan.seconds,
        statuses={str(status): count for status, count in Counter(it.status for it in replies).items()},
        p50_ms=low,
        p99_ms=high,
        refused_p50_ms=refused_low,
        refused_p99_ms=refused_high,
        gap_s=float(gaps.max()),
        client_cpu_ms=cpu_ms,
    )


def _rate(end_N: np.ndarray) -> float:
    """Answers a second, from the first to the last: the wait for the first is, with a slow model, a good part of the
    time. What came in one batch with it is of before, too."""
    after_N = end_N[1:][end_N[1:] > end_N[0] + _TOGETHER_S] if len(end_N) else end_N
    return len(after_N) / float(after_N[-1] - end_N[0]) if len(after_N) else 0.0


def _percentiles_ms(replies: list[Reply]) -> tuple[float, float]:
    if not replies:
        return float("nan"), float("nan")
    low, high = np.percentile([1000 * it.seconds for it in replies], [50, 99])
    return float(low), float(high)


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(run(Plan(**json.loads(sys.argv[1])))))))

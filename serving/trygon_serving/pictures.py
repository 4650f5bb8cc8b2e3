"""Encoded pictures to arrays, in threads of their own: a few at once, so that memory is bounded. Nothing is kept."""

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np

from trygon.data.images import BadImage, opened, preprocess
from trygon.models.folder import ImageTower
from trygon_serving.problem import Problem

_STATUS_OF_REASON = {"too_large": 413, "not_an_image": 415, "unsupported": 415}
"""HTTP status of a `BadImage`'s reason; 422 for all others."""

_MOST_TOGETHER = 2
"""The pixels of one request's images, as a multiple of those that one may have: sixteen that are small as files would
keep others waiting for a quarter of a minute."""

_MAX_SCANS = 100
"""A progressive JPEG has some ten. Each further one costs a pass over all pixels, for a few bytes."""

_MAX_SEGMENTS = 1000
"""A JPEG has a few before its first scan, and some hundreds with a large colour profile. Pillow keeps each of them."""

_MAX_CHUNKS, _MAX_PROFILES = 10_000, 10
"""A PNG of 20 MB has some 2,500 chunks, as they hold 8 KB by custom, and one colour profile. Pillow takes some ten
microseconds for each chunk, keeps those that it does not know, and unpacks a megabyte of each profile."""

_START_OF_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff([\x01-\xfe])")
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""How a JPEG's size and number of components begin."""

Made = TypeVar("Made")


class Room:
    """So many pixels for those that decode at the same time: as many as one picture may have."""

    def __init__(self, num_pixels: int) -> None:
        self.num_free = num_pixels
        self._turn, self._freed = asyncio.Lock(), asyncio.Event()

    @asynccontextmanager
    async def of(self, num_pixels: int) -> AsyncIterator[None]:
        """Wait until so many are free, and hold them. Who waits takes no thread from others.

        First come, first served: small pictures that went past a large one would keep it waiting for ever.
        """
        async with self._turn:
            while self.num_free < num_pixels:
                self._freed.clear()
                await self._freed.wait()
            self.num_free -= num_pixels
        try:
            yield
        finally:
            self.num_free += num_pixels
            self._freed.set()


class Pictures:
    """Decodes and resizes for one model at a time."""

    def __init__(self, max_pixels: int) -> None:
        self.max_pixels = max_pixels
        self.room = Room(max_pixels)
        self._threads = ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0))), thread_name_prefix="decode")

    async def decode(self, images: Sequence[bytes], tower: ImageTower) -> list[np.ndarray | Problem]:
        """Each image of a request as uint8 (3, S, S), or why it cannot be used. `Problem` 413 where they have too many
        pixels together: before any of them is decoded, as others would wait as long."""
        sizes = await asyncio.gather(*(self._sized(data, tower) for data in images))
        num_pixels, most = sum(it for it in sizes if isinstance(it, int)), _MOST_TOGETHER * self.max_pixels
        if num_pixels > most:
            detail = f"{num_pixels:,} together, at most {most:,}: send fewer at once, or smaller ones"
            raise Problem(413, "The images have too many pixels", detail)
        return await asyncio.gather(*map(partial(self._decode, tower), images, sizes))

    async def _sized(self, data: bytes, tower: ImageTower) -> int | Problem:
        try:
            return await self._apart(_num_pixels, data, tower.side, self.max_pixels)
        except BadImage as error:
            return _problem(error)

    async def _decode(self, tower: ImageTower, data: bytes, num_pixels: int | Problem) -> np.ndarray | Problem:
        if isinstance(num_pixels, Problem):
            return num_pixels
        try:
            async with self.room.of(num_pixels):
                decoding = self._apart(preprocess, data, tower.side, tower.resize_mode, self.max_pixels)
                try:
                    return await asyncio.shield(decoding)
                except asyncio.CancelledError:
                    await asyncio.wait([decoding])  # its thread goes on, and takes its room as long
                    raise
        except BadImage as error:
            return _problem(error)

    def _apart(self, work: Callable[..., Made], *given: object) -> asyncio.Future[Made]:
        return asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *given))


def _problem(error: BadImage) -> Problem:
    status = _STATUS_OF_REASON.get(error.reason, 422)
    return Problem(status, "The image cannot be used", str(error).replace("_", " "))


def _num_pixels(data: bytes, side: int, max_pixels: int) -> int:
    """How many are in memory at once: those of a JPEG's reduced scale, and all where it comes in scans. A WebP's count
    twice, as far as there is room for so many: its decoder keeps two frames of its own. `BadImage`."""
    _check(data)
    image = opened(data, side, max_pixels)
    if "progressive" in image.info or (data.startswith(b"\xff\xd8") and _is_in_scans(data)):
        image = opened(data, 0, max_pixels)
    num_pixels = image.width * image.height
    return min(2 * num_pixels, max_pixels) if image.format == "WEBP" else num_pixels


def _is_in_scans(data: bytes) -> bool:
    """Whether the first scan of a JPEG lacks some of its components: the decoder then keeps all of it until the others
    came, as of one that is progressive. Markers are found as libjpeg finds them."""
    num_components = 0
    for marker, segment in _segments(data):
        if len(segment) == 8 and marker in _FRAMES:
            num_components = segment[7]
        elif len(segment) == 8 and marker == _START_OF_SCAN[1]:
            return segment[2] < num_components
    return False


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The markers of a JPEG up to its first scan, each with the first bytes behind it."""
    marker, place = 0, 2
    while marker != _START_OF_SCAN[1] and (found := _MARKER.search(data, place)):
        marker, place = found[1][0], found.end()
        segment = b"" if marker in _WITHOUT_LENGTH else data[place : place + 8]
        yield marker, segment
        place += int.from_bytes(segment[:2])


def _chunks(data: bytes) -> Iterator[bytes]:
    """The kinds of a PNG's chunks."""
    place = 8
    while kind := data[place + 4 : place + 8]:
        yield kind
        place += 12 + int.from_bytes(data[place : place + 4])


def _check(data: bytes) -> None:
    """`BadImage` for what is no JPEG, PNG or WebP from its first byte, and for a JPEG or PNG that is made to cost
    time, or memory."""
    if not data:
        raise BadImage("empty")
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    if not (is_webp or data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))):
        raise BadImage("not_an_image", "send JPEG, PNG or WebP")
    if data.startswith(b"\xff\xd8") and data.count(_START_OF_SCAN) > _MAX_SCANS:
        raise BadImage("undecodable", f"more than {_MAX_SCANS} scans")
    if data.startswith(b"\xff\xd8") and any(islice(_segments(data), _MAX_SEGMENTS, None)):
        raise BadImage("undecodable", f"more than {_MAX_SEGMENTS} segments before the first scan")
    if data.startswith(b"\x89PNG"):
        kinds = Counter(islice(_chunks(data), _MAX_CHUNKS + 1))
        if kinds.total() > _MAX_CHUNKS:
            raise BadImage("undecodable", f"more than {_MAX_CHUNKS} chunks")
        if kinds[b"iCCP"] > _MAX_PROFILES:
            raise BadImage("undecodable", f"more than {_MAX_PROFILES} colour profiles")

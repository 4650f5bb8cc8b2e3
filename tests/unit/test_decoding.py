"""The server's pictures: large ones are not decoded beside each other, and each has its turn."""

import asyncio
import io
from pathlib import Path

import numpy as np
from PIL import Image

from trygon.models.folder import describe
from trygon.testing.tiny import write_tiny_model
from trygon_serving.pictures import Pictures, Room


def _picture(kind: str, side: int, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "olive").save(buffer, kind, **options)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def test_no_more_pixels_are_held_than_there_is_room() -> None:
    held = most = 0

    async def decode(room: Room, num_pixels: int) -> None:
        nonlocal held, most
        async with room.of(num_pixels):
            held += num_pixels
            most = max(most, held)
            await asyncio.sleep(0.001)
            held -= num_pixels

    async def run() -> Room:
        room = Room(100)
        await asyncio.gather(*(decode(room, num_pixels) for num_pixels in [60, 30, 100, 10, 50, 50, 1, 99] * 5))
        return room

    assert asyncio.run(asyncio.wait_for(run(), 60)).num_free == 100
    assert 90 <= most <= 100


def test_a_large_picture_has_its_turn_however_many_small_ones_come() -> None:
    done: list[int] = []

    async def decode(room: Room, num_pixels: int, seconds: float) -> None:
        async with room.of(num_pixels):
            await asyncio.sleep(seconds)
            done.append(num_pixels)

    async def run() -> None:
        room = Room(100)
        sizes = [*range(1, 6), 100, *range(6, 30)]
        asked = [asyncio.ensure_future(decode(room, size, 0.002 * (size % 5 + 1))) for size in sizes]
        await asyncio.sleep(0)
        asked.pop().cancel()  # who gives up gives up its turn
        await asyncio.wait(asked)

    asyncio.run(asyncio.wait_for(run(), 60))
    assert done.index(100) == 5
    assert len(done) == 29


def test_pictures_wait_for_room_by_what_they_take_of_it(tmp_path: Path) -> None:
    tower = describe(str(write_tiny_model(tmp_path)))
    pictures = Pictures(1000 * 1000)
    small = [_picture("JPEG", 1000), _picture("PNG", 100)]  # a JPEG is decoded at an eighth of its scale
    large = [_picture("PNG", 1000), _picture("JPEG", 1000, progressive=True)]

    async def run() -> None:
        async with pictures.room.of(1000 * 1000 - 100 * 100 - 125 * 125):
            assert all(isinstance(it, np.ndarray) for it in await asyncio.wait_for(pictures.decode(small, tower), 60))
            waiting = [asyncio.ensure_future(pictures.decode([it], tower)) for it in large * 8]
            await asyncio.sleep(0.2)  # more of them than there are threads
            assert not any(it.done() for it in waiting)
            waiting.pop().cancel()
        for (picture,) in await asyncio.wait_for(asyncio.gather(*waiting), 60):
            assert isinstance(picture, np.ndarray)

    asyncio.run(run())
    assert pictures.room.num_free == 1000 * 1000


def test_a_webp_takes_twice_the_room_and_never_more_than_there_is(tmp_path: Path) -> None:
    tower = describe(str(write_tiny_model(tmp_path)))
    pictures = Pictures(400 * 400)

    async def decoded(side: int, num_free: int) -> bool:
        async with pictures.room.of(400 * 400 - num_free):
            decoding = asyncio.ensure_future(pictures.decode([_picture("WEBP", side)], tower))
            await asyncio.wait([decoding], timeout=0.3 if num_free < 2 * side * side else 60)
            done = decoding.done()
        (picture,) = await asyncio.wait_for(decoding, 60)
        assert isinstance(picture, np.ndarray)
        return done

    async def run() -> list[bool]:
        return [await decoded(100, 2 * 100 * 100 - 1), await decoded(100, 2 * 100 * 100), await decoded(400, 0)]

    assert asyncio.run(run()) == [False, True, False]
    assert pictures.room.num_free == 400 * 400

"""The server's pictures: large ones are not decoded beside each other, and each has its turn."""

import asyncio
import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trygon.models.folder import describe
from trygon.testing.tiny import write_tiny_model
from trygon_serving.pictures import Pictures, Room
from trygon_serving.problem import Problem


def _picture(kind: str, side: int, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "olive").save(buffer, kind, **options)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    """Of a PNG."""
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def _in_scans(side: int) -> bytes:
    """A JPEG that is not progressive and has a scan for each of its three components, which Pillow does not write."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 90).save(buffer, "JPEG")
    head, scan = buffer.getvalue()[:-2].split(b"\xff\xda\0\x08\x01\x01\0\0\x3f\0")
    size = b"\x08" + 2 * side.to_bytes(2)
    grey = b"\xff\xc0\0\x0b" + size + b"\x01\x01\x11\0"
    assert grey in head
    colour = b"\xff\xc0\0\x11" + size + b"\x03" + b"".join(bytes((it, 0x11, 0)) for it in (1, 2, 3))
    scans = [b"\xff\xda\0\x08\x01" + bytes((it, 0, 0, 0x3F, 0)) + scan for it in (1, 2, 3)]
    return head.replace(grey, colour) + b"".join(scans) + b"\xff\xd9"


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


@pytest.mark.parametrize(
    ("data", "num_pixels"),
    [
        (_picture("JPEG", 400), 50 * 50),
        (_picture("JPEG", 400, progressive=True), 400 * 400),
        (_in_scans(400), 400 * 400),
    ],
    ids=["at an eighth", "progressive", "a scan for each component"],
)
def test_a_jpeg_takes_the_room_of_what_its_decoder_keeps(data: bytes, num_pixels: int, tmp_path: Path) -> None:
    tower = describe(str(write_tiny_model(tmp_path)))
    pictures = Pictures(400 * 400)

    async def decoded(num_free: int) -> bool:
        async with pictures.room.of(400 * 400 - num_free):
            decoding = asyncio.ensure_future(pictures.decode([data], tower))
            await asyncio.wait([decoding], timeout=0.3 if num_free < num_pixels else 60)
            done = decoding.done()
        (picture,) = await asyncio.wait_for(decoding, 60)
        assert isinstance(picture, np.ndarray)
        return done

    async def run() -> list[bool]:
        return [await decoded(num_pixels - 1), await decoded(num_pixels)]

    assert asyncio.run(run()) == [False, True]


def test_pictures_of_one_request_have_twice_the_pixels_of_one_and_others_do_not_wait_for_more(tmp_path: Path) -> None:
    tower = describe(str(write_tiny_model(tmp_path)))
    pictures = Pictures(1000 * 1000)
    large, small, too_large = _picture("PNG", 1000), _picture("JPEG", 1000), _picture("PNG", 1001)

    async def run() -> None:
        for images in ([large] * 16, [large, large, _picture("PNG", 1)], [large, large, small]):
            with pytest.raises(Problem, match="send fewer at once, or smaller ones") as caught:
                await asyncio.wait_for(pictures.decode(images, tower), 60)
            assert caught.value.status == 413
        async with pictures.room.of(1000 * 1000 - 125 * 125):  # what is refused has not waited for a decoder either
            with pytest.raises(Problem, match="16,000,000 together, at most 2,000,000"):
                await asyncio.wait_for(pictures.decode([large] * 16, tower), 60)
            (picture,) = await asyncio.wait_for(pictures.decode([small], tower), 60)
            assert isinstance(picture, np.ndarray)
        several = await pictures.decode([large, too_large, large, b"no picture"], tower)
        assert [it.status if isinstance(it, Problem) else it.shape[0] for it in several] == [3, 413, 3, 415]
        # Of a JPEG counts what is decoded of it.
        assert all(isinstance(it, np.ndarray) for it in await pictures.decode([small] * 16, tower))

    asyncio.run(run())


def test_a_jpeg_of_very_many_segments_is_refused_before_they_are_read(tmp_path: Path) -> None:
    """Each empty one of four bytes would cost Pillow over a hundred, and microseconds."""
    tower = describe(str(write_tiny_model(tmp_path)))
    jpeg = _picture("JPEG", 64)

    def decoded(num_segments: int) -> np.ndarray | Problem:
        data = jpeg[:2] + b"\xff\xe5\0\x02" * num_segments + jpeg[2:]
        return asyncio.run(Pictures(400 * 400).decode([data], tower))[0]

    assert isinstance(decoded(900), np.ndarray)
    refused = decoded(1000)
    assert isinstance(refused, Problem)
    assert (refused.status, refused.document.detail) == (
        422,
        "undecodable: more than 1000 segments before the first scan",
    )


@pytest.mark.parametrize(
    ("chunk", "most", "detail"),
    [
        (_chunk(b"teSt"), 9_997, "undecodable: more than 10000 chunks"),
        (_chunk(b"IDAT"), 9_997, "undecodable: more than 10000 chunks"),
        (_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(100))), 10, "undecodable: more than 10 colour profiles"),
    ],
    ids=["unknown", "empty", "profiles"],
)
def test_a_png_of_very_many_chunks_is_refused_before_they_are_read(
    chunk: bytes, most: int, detail: str, tmp_path: Path
) -> None:
    """Those of 20 MB would cost Pillow twenty seconds, and two minutes as packed profiles."""
    tower = describe(str(write_tiny_model(tmp_path)))
    png = _picture("PNG", 64)
    assert png.count(b"IDAT") == 1

    def decoded(num_chunks: int) -> np.ndarray | Problem:
        data = png[:33] + chunk * num_chunks + png[33:]
        return asyncio.run(Pictures(400 * 400).decode([data], tower))[0]

    assert isinstance(decoded(most), np.ndarray)
    refused = decoded(most + 1)
    assert isinstance(refused, Problem)
    assert (refused.status, refused.document.detail) == (422, detail)


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

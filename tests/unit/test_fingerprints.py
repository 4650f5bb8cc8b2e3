"""Copies of a picture are found, other pictures are not, and the quick search equals the plain one."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from trygon.data import fingerprints
from trygon.data.fingerprints import exact, originals, perceptual

_BICUBIC = Image.Resampling.BICUBIC


def _picture(seed: int, size: tuple[int, int] = (240, 180)) -> Image.Image:
    """Blobs of all sizes, the smaller the fainter, as photos have them."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(rng.integers(0, 255, (n, n, 3), np.uint8)).resize(size, _BICUBIC), np.float32)
        / n**0.5
        for n in (3, 6, 12, 24, 48, 96)
    ]
    mixed_HWC = np.sum(layers, axis=0)
    low, high = mixed_HWC.min(), mixed_HWC.max()
    return Image.fromarray((30 + 180 * (mixed_HWC - low) / (high - low)).astype(np.uint8))


def _bits(a: bytes | None, b: bytes | None) -> int:
    assert a is not None
    assert b is not None
    return int(np.bitwise_count(np.frombuffer(a, np.uint8) ^ np.frombuffer(b, np.uint8)).sum())


def _reencoded(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


@pytest.mark.parametrize("seed", range(5))
def test_copies_differ_in_few_bits_and_other_pictures_in_many(seed: int) -> None:
    image = _picture(seed)
    reference = perceptual(image)
    assert _bits(reference, perceptual(image.resize((120, 90), _BICUBIC))) <= 16
    assert _bits(reference, perceptual(_reencoded(image, 40))) <= 10
    assert _bits(reference, perceptual(ImageEnhance.Brightness(image).enhance(0.8))) <= 10
    assert _bits(reference, perceptual(_picture(seed + 100))) > 80


def test_a_flat_picture_has_no_perceptual_fingerprint() -> None:
    assert perceptual(Image.new("RGB", (200, 100), "grey")) is None


def test_exact_fingerprints_are_those_of_the_bytes() -> None:
    assert exact(b"a") == exact(b"a") != exact(b"b")
    assert len(exact(b"")) == 16


# Few words of which a hash is made, and few bits that are turned: groups, chains and doubles are then the rule.
words = st.sampled_from([0, 1, 3, 7, 2**63, 2**64 - 1])
hash_lists = st.lists(st.tuples(words, words, words, words), min_size=1, max_size=25)


def _plain(hashes_N4: np.ndarray, distance: int, num_guards: int) -> list[int]:
    plain: list[int] = []
    for index, value in enumerate(hashes_N4):
        kept = [other for other in range(index) if plain[other] == other and index >= num_guards]
        near = [other for other in kept if int(np.bitwise_count(value ^ hashes_N4[other]).sum()) <= distance]
        plain.append((near or [index])[0])
    return plain


@given(hash_lists, st.integers(0, 12), st.integers(0, 4), st.sampled_from([1, 3, 4096]))
def test_originals_equal_the_plain_search(
    hashes: list[tuple[int, ...]], distance: int, num_guards: int, block: int
) -> None:
    hashes_N4 = np.asarray(hashes, np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprints, "_block_size", lambda distance: block)
        patch.setattr(fingerprints, "_COMPARED", block)
        assert originals(hashes_N4, distance, num_guards).tolist() == _plain(hashes_N4, distance, num_guards)


def test_a_copy_of_a_copy_that_was_dropped_is_no_copy() -> None:
    """Chains of small changes do not swallow each other: 0 and 20 bits apart both stay, what lies between goes."""
    chain = [(0, 0, 0, 0), (2**10 - 1, 0, 0, 0), (2**20 - 1, 0, 0, 0)]
    assert originals(np.asarray(chain, np.uint64), 10).tolist() == [0, 0, 2]

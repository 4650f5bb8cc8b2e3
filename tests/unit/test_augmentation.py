"""Crops for training: as large as asked, where asked, and otherwise the preprocessing of bulk and serving."""

import io
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trygon.data.augmentation import Crop, augment, draw_crop
from trygon.data.images import BadImage, ResizeMode, preprocess


def _photo(width: int, height: int, kind: str = "PNG") -> bytes:
    """Soft blobs of colour: what a resize can be compared on."""
    blobs = np.random.default_rng(5).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(96, 96), (300, 200), (30, 20), (641, 1207)])
@pytest.mark.parametrize("mode", list(ResizeMode))
def test_the_whole_picture_as_a_crop_is_what_bulk_and_serving_see(
    mode: ResizeMode, size: tuple[int, int], kind: str
) -> None:
    data = _photo(*size, kind)
    difference = np.abs(augment(data, 48, mode, Crop()).astype(int) - preprocess(data, 48, mode))
    if mode is ResizeMode.SHORTEST:  # Pillow cuts the centre at half a pixel, too
        assert difference.mean() < 5
    else:
        assert difference.max() <= 1


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 10**6), st.sampled_from(ResizeMode))
def test_every_crop_of_every_picture_has_the_models_shape(
    width: int, height: int, seed: int, mode: ResizeMode
) -> None:
    data = _photo(width, height)
    image = augment(data, 16, mode, draw_crop((0.01, 1.0), random.Random(seed)))
    assert image.shape == (3, 16, 16)
    assert image.dtype == np.uint8


def test_a_crop_shows_its_part_of_the_picture_and_its_mirror_image_the_same_turned_round() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[50:, 100:] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    data = buffer.getvalue()
    assert (augment(data, 8, ResizeMode.SQUASH, Crop(0.5, 1, 1)) == 255).all()
    assert (augment(data, 8, ResizeMode.SQUASH, Crop(0.5, 0, 1)) == 0).all()
    mirrored = augment(data, 8, ResizeMode.SQUASH, Crop(mirrored=True))
    assert (mirrored == augment(data, 8, ResizeMode.SQUASH, Crop())[:, :, ::-1]).all()
    assert mirrored[0, 7].tolist() == [255] * 3 + mirrored[0, 7, 3:5].tolist() + [0] * 3


def test_drawn_crops_keep_to_their_share_of_the_area() -> None:
    crops = [draw_crop((0.25, 1.0), random.Random(seed)) for seed in range(200)]
    shares = [crop.share**2 for crop in crops]
    assert 0.25 <= min(shares) < 0.3
    assert 0.95 < max(shares) <= 1
    assert 60 < sum(crop.mirrored for crop in crops) < 140


def test_a_reduced_decode_leaves_no_crop_smaller_than_what_is_made_of_it() -> None:
    """A JPEG of 4 × the side is decoded at half its size and not at a quarter, for a crop of half its sides."""
    stripes = np.zeros((192, 192, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    buffer = io.BytesIO()
    Image.fromarray(stripes).save(buffer, "JPEG", quality=95)
    image = augment(buffer.getvalue(), 48, ResizeMode.SQUASH, Crop(0.5)).astype(int)
    assert np.abs(np.diff(image[0, 10])).max() > 60  # stripes of two pixels, still apart


def test_a_broken_picture_is_refused_with_its_reason() -> None:
    with pytest.raises(BadImage) as caught:
        augment(_photo(64, 64, "JPEG")[:300], 16, ResizeMode.SQUASH, Crop(0.95))
    assert caught.value.reason == "truncated"

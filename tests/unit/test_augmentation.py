"""Crops for training: as large as asked, where asked, and otherwise the preprocessing of bulk and serving."""

import io
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import RandomResizedCrop

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
    image = augment(data, 16, mode, draw_crop((0.01, 1.0), (0.2, 5.0), True, random.Random(seed)))
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
    crops = [draw_crop((0.25, 1.0), (1.0, 1.0), True, random.Random(seed)) for seed in range(200)]
    shares = [crop.share**2 for crop in crops]
    assert 0.25 <= min(shares) < 0.3
    assert 0.95 < max(shares) <= 1
    assert 60 < sum(crop.mirrored for crop in crops) < 140
    assert {crop.ratio for crop in crops} == {1}


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.2, 1), st.floats(1, 5), st.integers(0, 10**6))
def test_area_and_ratio_of_a_crop_are_within_what_is_given(
    one: float, other: float, least: float, most: float, seed: int
) -> None:
    area = (min(one, other), max(one, other))
    crop = draw_crop(area, (least, most), False, random.Random(seed))
    assert area[0] - 1e-9 <= crop.width * crop.height <= area[1] + 1e-9
    assert least - 1e-9 <= crop.width / crop.height <= most + 1e-9
    assert max(crop.width, crop.height) <= 1
    assert not crop.mirrored
    assert crop == draw_crop(area, (least, most), False, random.Random(seed))


def test_crops_of_a_square_are_drawn_as_open_clip_draws_them() -> None:
    """RandomResizedCrop's own draws beside ours: as often the whole picture, and elsewhere as large and as wide."""
    area, ratio = (0.9, 1.0), (3 / 4, 4 / 3)
    ours = [draw_crop(area, ratio, False, random.Random(seed)) for seed in range(2000)]
    torch.manual_seed(0)
    square = torch.empty(3, 1000, 1000)
    theirs = [RandomResizedCrop.get_params(square, list(area), list(ratio)) for _ in range(2000)]
    shares = np.asarray([[crop.height, crop.width, crop.share == 1] for crop in ours], float)
    sides = np.asarray([[height / 1000, width / 1000, height == width == 1000] for *_, height, width in theirs])
    assert np.abs(shares.mean(0) - sides.mean(0)).max() < 0.03
    assert np.abs(shares.std(0) - sides.std(0)).max() < 0.03


@pytest.mark.parametrize("mode", list(ResizeMode))
def test_a_crop_of_another_ratio_is_stretched_to_the_pictures_own(mode: ResizeMode) -> None:
    """The middle of a picture that is twice as wide as the crop's share of it: what a narrower picture would show."""
    pixels = np.array(Image.open(io.BytesIO(_photo(240, 160))))
    squeezed = io.BytesIO()
    Image.fromarray(pixels[:, 60:180]).resize((240, 160), Image.Resampling.BICUBIC).save(squeezed, "PNG")
    difference = np.abs(
        augment(_photo(240, 160), 48, mode, Crop(0.5**0.5, ratio=0.5)).astype(int)
        - augment(squeezed.getvalue(), 48, mode, Crop())
    )
    assert difference.mean() < 3


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

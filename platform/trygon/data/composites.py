"""Views of one organism: cut-outs pasted on backgrounds, crops of photos, colours as cameras vary them.

Knows nothing of taxa or shards. All randomness comes from the generator that is handed in. Sizes are in pixels.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

_BICUBIC = Image.Resampling.BICUBIC
_CLEAR = 0.02
"""A picture is a cut-out where more than this share of it is transparent."""


def open_organism(data: bytes) -> Image.Image:
    """An encoded picture: a cut-out as RGBA, trimmed to what is opaque; any other as RGB. It must be decodable."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        alpha_HW = np.asarray(rgba.getchannel("A"))
        box = Image.fromarray(alpha_HW > 16).getbbox()
        if box and (alpha_HW < 128).mean() > _CLEAR:
            return rgba.crop(box)
    return image.convert("RGB")


def clean_view(organism: Image.Image, side: int) -> Image.Image:
    """The picture as it is, its shorter side `side`; a cut-out stands whole on a white square."""
    if organism.mode == "RGBA":
        return place(organism, Image.new("RGB", (side, side), "white"), 0.9, (0.5, 0.5))
    scale = side / min(organism.size)
    width, height = (max(side, round(length * scale)) for length in organism.size)
    return organism.resize((width, height), _BICUBIC)


def training_view(
    organism: Image.Image, backgrounds: Sequence[Image.Image], side: int, rng: np.random.Generator
) -> Image.Image:
    """A random view, side × side: a crop of a photo, or a cut-out on a crop of a background."""
    if organism.mode == "RGBA":
        image = _composite(organism, backgrounds, side, rng)
    else:
        image = random_crop(organism, side, rng, least=0.35)
        if rng.random() < 0.5:
            image = ImageOps.mirror(image)
    return vary_colours(image, rng)


def _composite(
    cutout: Image.Image, backgrounds: Sequence[Image.Image], side: int, rng: np.random.Generator
) -> Image.Image:
    if rng.random() < 0.5:
        cutout = ImageOps.mirror(cutout)
    if rng.random() < 0.5:
        cutout = cutout.rotate(float(rng.normal(0, 9)), _BICUBIC, expand=True)
    cutout = ImageEnhance.Brightness(cutout).enhance(float(rng.uniform(0.75, 1.25)))
    # A quarter on a plain ground: so clean views look, and so do pictures from a studio or against the sky.
    if not backgrounds or rng.random() < 0.25:
        grey = rng.uniform(0, 255) if rng.random() < 0.5 else 255
        ground = Image.new("RGB", (side, side), tuple(int(v) for v in np.clip(rng.normal(grey, 12, 3), 0, 255)))
    else:
        ground = random_crop(backgrounds[int(rng.integers(len(backgrounds)))], side, rng, least=0.08)
        if rng.random() < 0.4:
            ground = ground.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 4))))
    share = float(rng.uniform(0.45, 1.1))  # above 1 the frame cuts it, as frames do
    return place(cutout, ground, share, (float(rng.random()), float(rng.random())))


def place(cutout: Image.Image, ground: Image.Image, share: float, at: tuple[float, float]) -> Image.Image:
    """Paste a cut-out so that its longer side is `share` of the ground's shorter one.

    `at` is where in the free space it stands, 0..1 from the left and from the top.
    """
    scale = share * min(ground.size) / max(cutout.size)
    width, height = (max(1, round(length * scale)) for length in cutout.size)
    small = cutout.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (round((room - size) * part) for room, size, part in zip(ground.size, small.size, at, strict=True))
    placed = ground.copy()
    placed.paste(small, (left, top), small)
    return placed


def random_crop(image: Image.Image, side: int, rng: np.random.Generator, least: float) -> Image.Image:
    """A crop of `least` to all of the area, 3:4 to 4:3, resized to side × side."""
    area = image.width * image.height * rng.uniform(least, 1)
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    width = min(image.width, max(1, round(np.sqrt(area * aspect))))
    height = min(image.height, max(1, round(np.sqrt(area / aspect))))
    left, top = int(rng.integers(image.width - width + 1)), int(rng.integers(image.height - height + 1))
    return image.resize((side, side), _BICUBIC, box=(left, top, left + width, top + height), reducing_gap=2.0)


def vary_colours(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast and saturation; now and then the grey of a night frame, noise or a soft lens."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(float(rng.uniform(0.7, 1.3)))
    if rng.random() < 0.1:
        image = ImageOps.grayscale(image).convert("RGB")
    if rng.random() < 0.15:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.2))))
    if rng.random() < 0.15:
        image = add_noise(image, float(rng.uniform(3, 12)), rng)
    return image


def add_noise(image: Image.Image, deviation: float, rng: np.random.Generator) -> Image.Image:
    """Sensor noise: the same for all three channels."""
    pixels_HWC = np.asarray(image, np.float32)
    noise_HW1 = rng.standard_normal((*pixels_HWC.shape[:2], 1), np.float32) * np.float32(deviation)
    return Image.fromarray(np.clip(pixels_HWC + noise_HW1, 0, 255).astype(np.uint8))

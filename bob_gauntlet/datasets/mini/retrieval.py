"""The retrieval datasets `photos-instances` and `copydays-mini`, made of regions of real photos."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.mini.build import Box, Example, build_split, generator, random_crop, render
from bob_gauntlet.datasets.mini.sources import read_photos


def quarter(size: tuple[int, int], index: int) -> Box:
    """Return one of the four quarters of a photo of (width, height) pixels; `index` is 0 to 3."""
    width, height = size[0] // 2, size[1] // 2
    left, top = (index % 2) * width, (index // 2) * height
    return left, top, left + width, top + height


def load_photos_instances() -> Dataset:
    """Load `photos-instances`: 84 instances, each of which is a quarter of a photo.

    Each quarter gives 2 query crops and 5 gallery crops, which may or may not overlap.
    """
    photos = read_photos()

    def examples(role: str, count: int) -> list[Example]:
        return [
            Example(f"{name}-{index}-{role}-{i}", 4 * number + index, name, render(photo, box))
            for number, (name, photo) in enumerate(photos.items())
            for index in range(4)
            for rng in [generator("photos-instances", 1, role, name, index)]
            for i in range(count)
            for box in [random_crop(rng, quarter(photo.size, index), 0.5, 0.8)]
        ]

    splits = {
        "query": build_split("query", examples("query", 2)),
        "gallery": build_split("gallery", examples("gallery", 5)),
    }
    return Dataset("photos-instances", splits, classes=tuple(f"{name}-{i}" for name in photos for i in range(4)))


def load_copydays_mini() -> Dataset:
    """Load `copydays-mini`, for copy detection.

    The queries are 63 unchanged regions. The gallery has 6 strongly attacked copies of each, and 84 distractors. All
    copies have changed colours; five of the six are also cropped, compressed, blurred, rotated or covered with text.
    """
    queries: list[Example] = []
    gallery: list[Example] = []
    for number, (name, photo) in enumerate(read_photos().items()):
        for index in range(3):
            rng = generator("copydays-mini", 2, name, index)
            region = render(photo, random_crop(rng, quarter(photo.size, index), 0.75, 1.0), 160)
            target = 3 * number + index
            queries.append(Example(f"{name}-{index}", target, name, region))
            tinted = colour(region, rng)
            copies = {"colour": tinted, **{attack.__name__: attack(tinted, rng) for attack in ATTACKS}}
            gallery += [Example(f"{name}-{index}-{attack}", target, name, copy) for attack, copy in copies.items()]
        gallery += _distractors(name, photo)
    splits = {"query": build_split("query", queries), "gallery": build_split("gallery", gallery)}
    return Dataset("copydays-mini", splits, classes=tuple(query.id for query in queries))


def _distractors(name: str, photo: Image.Image) -> list[Example]:
    """Return four crops of the quarter that no query is taken from: the same photo with other content."""
    rng = generator("copydays-mini", 2, name, "distractors")
    return [
        Example(
            f"{name}-distractor-{i}", -1, name, render(photo, random_crop(rng, quarter(photo.size, 3), 0.6, 1.0), 160)
        )
        for i in range(4)
    ]


def crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a crop of a fifth to a third of the area, enlarged to the side of the image."""
    return render(image, random_crop(rng, (0, 0, *image.size), 0.45, 0.6), image.width)


def jpeg(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the image after JPEG compression at quality 3 to 8."""
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(3, 9)))
    return Image.open(buffer).convert("RGB")


def blur(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the image after a Gaussian blur of radius 4 to 7 px, on a side of 160 px."""
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(4, 7))))


def colour(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the image with another hue, less or more saturation, and less or more brightness."""
    hue, saturation, value = image.convert("HSV").split()
    shift = int(rng.integers(40, 216))
    turned = hue.point([(level + shift) % 256 for level in range(256)])
    image = Image.merge("HSV", (turned, saturation, value)).convert("RGB")
    image = ImageEnhance.Color(image).enhance(float(rng.choice([0.2, 2.0])))
    return ImageEnhance.Brightness(image).enhance(float(rng.choice([0.5, 1.6])))


def rotation(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the image rotated by 30 to 150 degrees, left or right, with black corners."""
    return image.rotate(float(rng.uniform(30, 150)) * float(rng.choice([-1, 1])), Image.Resampling.BICUBIC)


def text(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the image with four lines of large letters on it."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    for line in range(4):
        words = "".join(chr(int(c)) for c in rng.integers(65, 91, 9))
        fill = tuple(int(c) for c in rng.integers(0, 256, 3))
        draw.text((int(rng.integers(0, 20)), 8 + 38 * line), words, fill=fill, font_size=30)
    return image


ATTACKS: tuple[Callable[[Image.Image, np.random.Generator], Image.Image], ...] = (
    crop,
    jpeg,
    blur,
    rotation,
    text,
)
"""Attacks on a copy whose colours were changed; their names enter the ids of images, and must stay."""

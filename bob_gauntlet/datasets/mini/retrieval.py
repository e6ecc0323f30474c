"""`photos-instances` and `copydays-mini`: retrieval on regions of real photos."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.mini.build import Box, Example, generator, random_crop, render, split
from bob_gauntlet.datasets.mini.sources import read_photos


def quarter(size: tuple[int, int], index: int) -> Box:
    """One of the four quarters of a photo (width, height)."""
    width, height = size[0] // 2, size[1] // 2
    left, top = (index % 2) * width, (index // 2) * height
    return left, top, left + width, top + height


def load_photos_instances() -> Dataset:
    """84 instances, each a quarter of a photo: 2 query and 5 gallery crops of it, overlapping or apart."""
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

    splits = {"query": split("query", examples("query", 2)), "gallery": split("gallery", examples("gallery", 5))}
    return Dataset("photos-instances", splits, classes=tuple(f"{name}-{i}" for name in photos for i in range(4)))


def load_copydays_mini() -> Dataset:
    """Copy detection: 63 untouched regions as queries; a gallery of 6 strong attacks on each, and 84 distractors.

    Every copy has other colours, and all but one of them a crop, JPEG, blur, rotation or text on top.
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
            gallery += [Example(f"{name}-{index}-{how}", target, name, copy) for how, copy in copies.items()]
        gallery += _distractors(name, photo)
    splits = {"query": split("query", queries), "gallery": split("gallery", gallery)}
    return Dataset("copydays-mini", splits, classes=tuple(query.id for query in queries))


def _distractors(name: str, photo: Image.Image) -> list[Example]:
    """Four crops of the quarter that no query comes from: same photo, other content."""
    rng = generator("copydays-mini", 2, name, "distractors")
    return [
        Example(
            f"{name}-distractor-{i}", -1, name, render(photo, random_crop(rng, quarter(photo.size, 3), 0.6, 1.0), 160)
        )
        for i in range(4)
    ]


def crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A fifth to a third of the area, blown up again."""
    return render(image, random_crop(rng, (0, 0, *image.size), 0.45, 0.6), image.width)


def jpeg(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """JPEG at quality 3 to 8."""
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(3, 9)))
    return Image.open(buffer).convert("RGB")


def blur(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Gaussian blur of 4 to 7 pixels of 160."""
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(4, 7))))


def colour(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Hue turned, colours washed out or overdone, darker or lighter."""
    hue, saturation, value = image.convert("HSV").split()
    shift = int(rng.integers(40, 216))
    turned = hue.point([(level + shift) % 256 for level in range(256)])
    image = Image.merge("HSV", (turned, saturation, value)).convert("RGB")
    image = ImageEnhance.Color(image).enhance(float(rng.choice([0.2, 2.0])))
    return ImageEnhance.Brightness(image).enhance(float(rng.choice([0.5, 1.6])))


def rotation(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turned by 30 to 150 degrees on a black ground."""
    return image.rotate(float(rng.uniform(30, 150)) * float(rng.choice([-1, 1])), Image.Resampling.BICUBIC)


def text(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Lines of large letters over the picture."""
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
"""What is done to a copy after its colours were changed."""

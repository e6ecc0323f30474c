"""The images to pretrain on: crops of the training parts of the mini photos, handwritten and rendered digits."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from bob_gauntlet.datasets.loading import load
from bob_gauntlet.datasets.mini.build import generator, random_crop, render
from bob_gauntlet.datasets.mini.classification import role_region
from bob_gauntlet.datasets.mini.sources import read_photos

SIDE = 128
"""Side of the stored images in pixels; networks are trained on crops of size `ImagePool.size`."""

TYPEFACES = ("DejaVu", "STIXGeneral", "cmb10", "cmr10", "cmss10", "cmti10", "cmtt10")
"""Prefixes of the names of those fonts of matplotlib that have the ten digits."""

SHARES = {"photos": 2 / 3, "handwritten": 1 / 6, "rendered": 1 / 6}
"""Probability of drawing an image from each source."""


@dataclass(frozen=True)
class ImagePool:
    """Images (N, 3, 128, 128) uint8 with class (photos first, then digits), source, and probability of being drawn."""

    images: torch.Tensor
    targets: torch.Tensor
    is_photo: torch.Tensor
    weights: torch.Tensor
    described: dict[str, Any]
    size: int = 96

    @property
    def classes(self) -> int:
        """The number of classes of photos and digits together."""
        return int(self.targets.max()) + 1

    def draw(self, count: int) -> "Batch":
        """Draw a batch with replacement."""
        chosen = torch.multinomial(self.weights, count, replacement=True)
        return Batch(self.images[chosen].float() / 255, self.targets[chosen], self.is_photo[chosen])


@dataclass(frozen=True)
class Batch:
    """Images (B, 3, 128, 128) in 0..1 with their class, and whether each is a photo."""

    images: torch.Tensor
    targets: torch.Tensor
    is_photo: torch.Tensor


LabelledImages = Iterator[tuple[int, Image.Image]]


def build_pool(crops: int = 200, glyphs: int = 150) -> ImagePool:
    """Build the pool: `crops` of each photo's training region, the training digits, `glyphs` images of each digit."""
    first_digit = len(read_photos())
    sources = {
        "photos": list(_photo_crops(crops)),
        "handwritten": [(first_digit + digit, image) for digit, image in _handwritten()],
        "rendered": [(first_digit + digit, image) for digit, image in _rendered(glyphs)],
    }
    examples = [example for of_source in sources.values() for example in of_source]
    images = torch.from_numpy(np.stack([np.asarray(image) for _, image in examples])).permute(0, 3, 1, 2).contiguous()
    targets = torch.tensor([target for target, _ in examples])
    counts = {name: len(of_source) for name, of_source in sources.items()}
    weights = torch.cat([torch.full((count,), SHARES[name] / count) for name, count in counts.items()])
    described = {
        "photos": f"{crops} crops of each mini photo, of the part that `photos` trains on and no other; the retrieval "
        "datasets photos-instances and copydays-mini are made of whole photos, that part among them",
        "handwritten": "the training part of `digits`",
        "rendered": f"each digit {glyphs} times in matplotlib's fonts",
        "counts": counts,
        "shares": {name: round(share, 4) for name, share in SHARES.items()},
        "sha256": hashlib.sha256(images.numpy().tobytes() + targets.numpy().tobytes()).hexdigest(),
    }
    return ImagePool(images, targets, targets < first_digit, weights, described)


def _photo_crops(count: int) -> LabelledImages:
    """Yield square crops of the training regions; the side is 0.3 to 1 times the region's short side."""
    for target, (name, photo) in enumerate(read_photos().items()):
        rng = generator("pretrain", 1, "photos", name)
        for _ in range(count):
            yield target, render(photo, random_crop(rng, role_region(photo.size, "train"), 0.3, 1.0), SIDE)


def _handwritten() -> LabelledImages:
    """Yield the handwritten digits, resized to SIDE."""
    split = load("digits")["train"]
    for index, target in enumerate(split.targets.tolist()):
        yield target, split.image(index).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _rendered(count: int) -> LabelledImages:
    """Yield `count` renderings of each digit."""
    for digit in range(10):
        rng = generator("pretrain", 1, "rendered", digit)
        for _ in range(count):
            yield digit, render_glyph(str(digit), rng)


def render_glyph(text: str, rng: np.random.Generator) -> Image.Image:
    """Render a character with random font, size, place, rotation and grey levels, half of them at low resolution."""
    background, ink = int(rng.integers(0, 90)), int(rng.integers(150, 256))
    if rng.random() < 0.5:
        background, ink = ink, background
    font = ImageFont.truetype(typefaces()[int(rng.integers(len(typefaces())))], int(rng.integers(70, 125)))
    image = Image.new("L", (SIDE, SIDE), background)
    centre = tuple(SIDE / 2 + float(shift) for shift in rng.uniform(-12, 12, 2))
    ImageDraw.Draw(image).text(centre, text, fill=ink, font=font, anchor="mm")
    image = image.rotate(float(rng.uniform(-15, 15)), Image.Resampling.BICUBIC, fillcolor=background)
    if rng.random() < 0.5:
        coarse = int(rng.integers(8, 33))
        image = image.resize((coarse, coarse), Image.Resampling.BOX).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return image.convert("RGB")


@cache
def typefaces() -> tuple[str, ...]:
    """Return the files of the fonts in which digits are rendered, sorted by name."""
    files = sorted(Path(matplotlib.get_data_path()).rglob("*.ttf"), key=lambda path: path.name)
    return tuple(str(path) for path in files if path.name.startswith(TYPEFACES) and "Display" not in path.name)

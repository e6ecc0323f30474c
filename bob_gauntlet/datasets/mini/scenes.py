"""The multi-label dataset `digit-scenes`: which handwritten digits are in an image. A small twin of CheXpert.

All arithmetic on pixels uses integers, so that images are the same on every machine.
"""

from collections.abc import Collection

import numpy as np
from PIL import Image, ImageStat

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.mini.build import Box, Example, build_split, generator, random_crop, render
from bob_gauntlet.datasets.mini.classification import DIGIT_RANGES, role_region
from bob_gauntlet.datasets.mini.sources import read_digits, read_photos

COUNTS = {"train": 400, "val": 100, "test": 300}
"""Role -> number of images."""

SIDE = 96
"""Side of an image in px; each of its quarters holds one digit or none."""

DIGIT_SIDES = (24, 36)
"""Smallest and largest side of a digit in px."""

CROP_SHARES = (0.15, 0.4)
"""Smallest and largest side of a background crop, as a fraction of the short side of its photo's region.

Small crops show little detail, so that the digits on them stay legible.
"""


def load_digit_scenes() -> Dataset:
    """Load `digit-scenes`: 800 crops of photos, each with 1 to 4 handwritten digits; label k tells if digit k is there.

    Digits and regions of photos have the roles that they have in `digits` and `photos`, so that none is in two roles.
    Clusters are the photos.
    """
    splits = {role: build_split(role, [_example(role, i) for i in range(count)]) for role, count in COUNTS.items()}
    return Dataset("digit-scenes", splits, classes=tuple("0123456789"), multi_label=True)


def _example(role: str, index: int) -> Example:
    """Return one image: a crop of a photo with 1 to 4 digits, each in its own quarter."""
    rng = generator("digit-scenes", 1, role, index)
    name, photo = list(read_photos().items())[index % len(read_photos())]
    scene = render(photo, random_crop(rng, role_region(photo.size, role), *CROP_SHARES), SIDE)
    images, labels = read_digits()
    chosen = rng.integers(*DIGIT_RANGES[role], int(rng.integers(1, 5)))
    for digit, quarter in zip(chosen, rng.permutation(4), strict=False):
        draw_in_quarter(scene, images[digit], int(quarter), rng)
    return Example(f"scene-{role}-{index:03}", multi_hot(labels[chosen]), name, scene)


def multi_hot(labels: Collection[int] | np.ndarray, classes: int = 10) -> tuple[int, ...]:
    """Return {0, 1} for each class; the classes are the ten digits by default.

    >>> multi_hot(np.array([3, 0, 3]))
    (1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    """
    return tuple(int(label in labels) for label in range(classes))


def draw_in_quarter(scene: Image.Image, digit: np.ndarray, quarter: int, rng: np.random.Generator) -> None:
    """Draw an (8, 8) uint8 digit at a random place of one quarter, in a colour that contrasts with the background."""
    side = int(rng.integers(DIGIT_SIDES[0], DIGIT_SIDES[1] + 1))
    right, down = (int(shift) for shift in rng.integers(0, SIDE // 2 - side + 1, 2))
    x, y = SIDE // 2 * (quarter % 2) + right, SIDE // 2 * (quarter // 2) + down
    opacity = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    draw_ink(scene, opacity, (x, y, x + side, y + side), rng)


def draw_ink(scene: Image.Image, opacity: Image.Image, box: Box, rng: np.random.Generator) -> None:
    """Fill a box of the image with one colour, light on a dark background and dark on a light one.

    `opacity` is an image of mode "L" and of the size of the box.
    """
    lowest_level = 0 if ImageStat.Stat(scene.crop(box).convert("L")).mean[0] > 127 else 196
    scene.paste(tuple(int(level) for level in rng.integers(lowest_level, lowest_level + 60, 3)), box, opacity)

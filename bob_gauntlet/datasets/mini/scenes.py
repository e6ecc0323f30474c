"""`digit-scenes`: which handwritten digits occur in an image, several labels at a time; a small twin of CheXpert.

All arithmetic on pixels is on integers: the same on every machine.
"""

from collections.abc import Collection

import numpy as np
from PIL import Image, ImageStat

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.mini.build import Box, Example, generator, random_crop, render, split
from bob_gauntlet.datasets.mini.classification import DIGITS, role_region
from bob_gauntlet.datasets.mini.sources import read_digits, read_photos

COUNTS = {"train": 400, "val": 100, "test": 300}
"""Role -> scenes."""

SIDE = 96
"""Of a scene in px; each of its quarters holds one digit or none."""

SIDES = (24, 36)
"""Smallest and largest side of a digit in px."""

CROPS = (0.15, 0.4)
"""Smallest and largest side of a crop, of the short side of its photo's part: small ones leave the digits legible."""


def load_digit_scenes() -> Dataset:
    """800 crops of photos with 1 to 4 handwritten digits on each; label k says whether digit k is among them.

    Digits and parts of photos are those of `digits` and `photos`: none is in two roles. Clusters are the photos.
    """
    splits = {role: split(role, [_example(role, i) for i in range(count)]) for role, count in COUNTS.items()}
    return Dataset("digit-scenes", splits, classes=tuple("0123456789"), multi_label=True)


def _example(role: str, index: int) -> Example:
    rng = generator("digit-scenes", 1, role, index)
    name, photo = list(read_photos().items())[index % len(read_photos())]
    scene = render(photo, random_crop(rng, role_region(photo.size, role), *CROPS), SIDE)
    images, labels = read_digits()
    chosen = rng.integers(*DIGITS[role], int(rng.integers(1, 5)))
    for digit, quarter in zip(chosen, rng.permutation(4), strict=False):
        write(scene, images[digit], int(quarter), rng)
    return Example(f"scene-{role}-{index:03}", present(labels[chosen]), name, scene)


def present(labels: Collection[int] | np.ndarray, classes: int = 10) -> tuple[int, ...]:
    """{0, 1} for each of the classes, by default the ten digits.

    >>> present(np.array([3, 0, 3]))
    (1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    """
    return tuple(int(label in labels) for label in range(classes))


def write(scene: Image.Image, digit: np.ndarray, quarter: int, rng: np.random.Generator) -> None:
    """Draw a digit, (8, 8) uint8, somewhere in one quarter of the scene, in a colour that its ground lets be seen."""
    side = int(rng.integers(SIDES[0], SIDES[1] + 1))
    right, down = (int(shift) for shift in rng.integers(0, SIDE // 2 - side + 1, 2))
    x, y = SIDE // 2 * (quarter % 2) + right, SIDE // 2 * (quarter // 2) + down
    ink(scene, Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC), (x, y, x + side, y + side), rng)


def ink(scene: Image.Image, opacity: Image.Image, box: Box, rng: np.random.Generator) -> None:
    """Fill a box of the scene with ink of that opacity, "L" of the box's size: light on dark, dark on light."""
    darkest = 0 if ImageStat.Stat(scene.crop(box).convert("L")).mean[0] > 127 else 196
    scene.paste(tuple(int(level) for level in rng.integers(darkest, darkest + 60, 3)), box, opacity)

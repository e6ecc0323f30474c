"""`photos` and `digits`: classification that takes seconds."""

import numpy as np
from PIL import Image

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.mini.build import Box, Example, generator, random_crop, render, split
from bob_gauntlet.datasets.mini.sources import read_digits, read_photos

SHARES = {"train": (0.0, 0.5), "val": (0.5, 0.65), "test": (0.65, 1.0)}
"""Role -> the share of a photo's long side that its crops come from: no pixel is in two roles."""

COUNTS = {"train": 20, "val": 5, "test": 20}
"""Role -> crops of each photo."""

DIGITS = {"train": (0, 1000), "val": (1000, 1300), "test": (1300, 1797)}
"""Role -> index range in scikit-learn's order, which goes by writer."""


def role_region(size: tuple[int, int], role: str) -> Box:
    """The part of a photo (width, height) that belongs to a role.

    >>> role_region((200, 100), "val")
    (100, 0, 130, 100)
    """
    width, height = size
    first, last = (round(share * max(size)) for share in SHARES[role])
    return (first, 0, last, height) if width >= height else (0, first, width, last)


def boxes(name: str, size: tuple[int, int], role: str) -> list[Box]:
    """The crops of one photo for one role."""
    rng = generator("photos", 1, role, name)
    return [random_crop(rng, role_region(size, role), 0.4, 0.9) for _ in range(COUNTS[role])]


def load_photos() -> Dataset:
    """21 photos, a class each: 20 training, 5 validation and 20 test crops from disjoint parts of it."""
    photos = read_photos()

    def examples(role: str) -> list[Example]:
        return [
            Example(f"{name}-{role}-{i:02}", target, name, render(photo, box))
            for target, (name, photo) in enumerate(photos.items())
            for i, box in enumerate(boxes(name, photo.size, role))
        ]

    return Dataset("photos", {role: split(role, examples(role)) for role in SHARES}, classes=tuple(photos))


def load_digits() -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels: 1,000 to train, 300 to validate, 497 to test."""
    images, labels = read_digits()

    def example(index: int) -> Example:
        small = Image.fromarray(images[index]).resize((32, 32), Image.Resampling.BICUBIC).convert("RGB")
        return Example(f"digit-{index:04}", int(labels[index]), f"digit-{index:04}", small)

    splits = {role: split(role, [example(i) for i in range(*bounds)]) for role, bounds in DIGITS.items()}
    return Dataset("digits", splits, classes=tuple(str(d) for d in np.unique(labels)))

"""The classification datasets `photos` and `digits`, on which a probe takes seconds."""

import numpy as np
from PIL import Image

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.mini.build import Box, Example, build_split, generator, random_crop, render
from bob_gauntlet.datasets.mini.sources import read_digits, read_photos

ROLE_SHARES = {"train": (0.0, 0.5), "val": (0.5, 0.65), "test": (0.65, 1.0)}
"""Role -> start and end of its region, as fractions of a photo's long side; no pixel is in two roles."""

CROPS_PER_PHOTO = {"train": 20, "val": 5, "test": 20}
"""Role -> number of crops of each photo."""

DIGIT_RANGES = {"train": (0, 1000), "val": (1000, 1300), "test": (1300, 1797)}
"""Role -> range of indices in scikit-learn's order, in which digits are grouped by writer."""


def role_region(size: tuple[int, int], role: str) -> Box:
    """Return the region of a photo of (width, height) pixels that belongs to a role.

    >>> role_region((200, 100), "val")
    (100, 0, 130, 100)
    """
    width, height = size
    start, end = (round(share * max(size)) for share in ROLE_SHARES[role])
    return (start, 0, end, height) if width >= height else (0, start, width, end)


def crop_boxes(name: str, size: tuple[int, int], role: str) -> list[Box]:
    """Return the boxes of the crops of one photo for one role."""
    rng = generator("photos", 1, role, name)
    return [random_crop(rng, role_region(size, role), 0.4, 0.9) for _ in range(CROPS_PER_PHOTO[role])]


def load_photos() -> Dataset:
    """Load `photos`: 21 photos, each of which is a class.

    Each photo gives 20 training, 5 validation and 20 test crops, from disjoint regions.
    """
    photos = read_photos()

    def examples(role: str) -> list[Example]:
        return [
            Example(f"{name}-{role}-{i:02}", target, name, render(photo, box))
            for target, (name, photo) in enumerate(photos.items())
            for i, box in enumerate(crop_boxes(name, photo.size, role))
        ]

    return Dataset("photos", {role: build_split(role, examples(role)) for role in ROLE_SHARES}, classes=tuple(photos))


def load_digits() -> Dataset:
    """Load `digits`: 1,797 handwritten digits of 8 x 8 pixels; 1,000 for train, 300 for val and 497 for test."""
    images, labels = read_digits()

    def example(index: int) -> Example:
        small = Image.fromarray(images[index]).resize((32, 32), Image.Resampling.BICUBIC).convert("RGB")
        return Example(f"digit-{index:04}", int(labels[index]), f"digit-{index:04}", small)

    splits = {role: build_split(role, [example(i) for i in range(*bounds)]) for role, bounds in DIGIT_RANGES.items()}
    return Dataset("digits", splits, classes=tuple(str(d) for d in np.unique(labels)))

"""JPEG files like those of a dataset: crops of the mini photos, 500 x 375 pixels, in one folder for each class."""

from pathlib import Path

import numpy as np

from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.image_folders import images_in_class_folders, labelled_split
from bob_gauntlet.datasets.mini.sources import read_photos

SIZE = 500, 375
"""Width and height in pixels."""

CLASSES = 8
"""Number of class folders."""


def write_photo_files(folder: Path, count: int) -> Split:
    """Write `count` files of CLASSES classes to a new folder; return a split that decodes them on demand."""
    rng = np.random.default_rng(0)
    sources = list(read_photos().values())
    for number in range(max(count, CLASSES)):
        photo = sources[number % len(sources)]
        # a random crop of the photo with the aspect ratio of SIZE
        width = rng.uniform(0.5, 1) * min(photo.width, photo.height * SIZE[0] / SIZE[1])
        height = width * SIZE[1] / SIZE[0]
        left, top = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
        file = folder / f"class{number % CLASSES}" / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        photo.resize(SIZE, box=(left, top, left + width, top + height)).save(file, quality=90)
    return labelled_split("train", images_in_class_folders(folder, "the benchmark's photos"))

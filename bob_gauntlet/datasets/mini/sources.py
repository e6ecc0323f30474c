"""The photos and digits inside the packages scikit-image and scikit-learn, read without importing either package.

The photos are NASA, public-domain, CC0 and BSD pictures, which the README files of the two packages list.
"""

import gzip
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bob_gauntlet.datasets.images import read_image
from bob_gauntlet.errors import MissingError

PHOTOS = {
    "skimage": (
        "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png", "coffee.png",
        "coins.png", "color.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png",
        "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png",
    ),
    "sklearn": ("china.jpg", "flower.jpg"),
}  # fmt: skip
"""Package -> its real photos; drawings, logos, masks and second views of the same scene are left out."""

_FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}


@cache
def read_photos() -> dict[str, Image.Image]:
    """Return RGB photos by name, sorted by name; their sides have at most 1024 px."""
    images = {}
    for package, names in PHOTOS.items():
        for name in names:
            image = read_image(_package_folder(package) / _FOLDERS[package] / name)
            image.thumbnail((1024, 1024), Image.Resampling.LANCZOS)
            images[Path(name).stem] = image
    return dict(sorted(images.items()))


@cache
def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's 1,797 handwritten digits: (1797, 8, 8) uint8 images in 0..255, and (1797,) int64 labels."""
    packed = (_package_folder("sklearn") / "datasets/data/digits.csv.gz").read_bytes()
    table = np.loadtxt(BytesIO(gzip.decompress(packed)), delimiter=",", dtype=np.int64)
    return (table[:, :-1].reshape(-1, 8, 8) * 255 // 16).astype(np.uint8), table[:, -1]


def _package_folder(name: str) -> Path:
    """Return the folder of an installed package; MissingError where it is not installed."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingError(f'the mini datasets need {name}: pip install "bob-gauntlet[mini]"')
    return Path(spec.submodule_search_locations[0])

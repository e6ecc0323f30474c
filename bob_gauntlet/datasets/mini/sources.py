"""The photos and digits inside the wheels of scikit-image and scikit-learn, read without importing either.

The photos: NASA, public-domain and CC0/BSD pictures listed in the two packages' own README files.
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
"""Package -> the real photos in it; drawings, logos, masks and the second view of a scene are left out."""

_FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}


@cache
def read_photos() -> dict[str, Image.Image]:
    """Name -> RGB photo, at most 1024 px a side, in the order of names."""
    found = {}
    for package, names in PHOTOS.items():
        for name in names:
            image = read_image(_package(package) / _FOLDERS[package] / name)
            image.thumbnail((1024, 1024), Image.Resampling.LANCZOS)
            found[Path(name).stem] = image
    return dict(sorted(found.items()))


@cache
def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 handwritten digits: images (1797, 8, 8) uint8 in 0..255, labels (1797,) int64."""
    packed = (_package("sklearn") / "datasets/data/digits.csv.gz").read_bytes()
    table = np.loadtxt(BytesIO(gzip.decompress(packed)), delimiter=",", dtype=np.int64)
    return (table[:, :-1].reshape(-1, 8, 8) * 255 // 16).astype(np.uint8), table[:, -1]


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingError(f'the mini datasets need {name}: pip install "bob-gauntlet[mini]"')
    return Path(spec.submodule_search_locations[0])

"""The dataset `fonts-digits`: digits drawn in fonts to train on, and handwritten digits to test on.

The fonts are files inside the matplotlib package; matplotlib itself is never imported.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.mini.build import Example, build_split, generator
from bob_gauntlet.datasets.mini.classification import load_digits
from bob_gauntlet.errors import MissingError

TYPEFACES = ("DejaVu", "STIXGeneral", "cmb10", "cmr10", "cmss10", "cmti10", "cmtt10")
"""Beginnings of the names of those fonts of matplotlib that contain the ten digits."""

COUNTS = {"train": 1000, "val": 300, "source": 300}
"""Role -> number of drawn digits; each of the ten digits is a tenth of them."""

DRAWN_SIDE, GRID_SIDE, SIDE = 128, 8, 32
"""Sides in px: a digit is drawn large, averaged to the grid of the handwritten digits, and enlarged as they are."""


def load_fonts_digits() -> Dataset:
    """Load `fonts-digits`, synthetic to real; a small twin of VisDA.

    There are 1,000 drawn digits for train, 300 for val and 300 for source; `test` are the 497 test images of `digits`.
    """
    drawn = {role: build_split(role, [_example(role, i) for i in range(count)]) for role, count in COUNTS.items()}
    real = load_digits()
    return Dataset("fonts-digits", {**drawn, "test": real["test"]}, classes=real.classes)


def _example(role: str, index: int) -> Example:
    """Return a digit in a random typeface, which is its cluster."""
    rng = generator("fonts-digits", 1, role, index)
    typeface = typefaces()[int(rng.integers(len(typefaces())))]
    digit = index % 10
    return Example(f"font-{role}-{index:04}", digit, typeface.stem, draw_digit(str(digit), typeface, rng))


def draw_digit(digit: str, typeface: Path, rng: np.random.Generator) -> Image.Image:
    """Return an RGB image of a digit, light on dark or dark on light, and as coarse as the handwritten digits."""
    coarse = draw_coarse_digit(digit, typeface, rng).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    ground, ink = int(rng.integers(0, 60)), int(rng.integers(200, 256))
    if rng.integers(2):
        ground, ink = ink, ground
    return coarse.point([(level * ink + (255 - level) * ground) // 255 for level in range(256)]).convert("RGB")


def draw_coarse_digit(digit: str, typeface: Path, rng: np.random.Generator) -> Image.Image:
    """Return how much ink (0 to 255) a digit has in each cell of the grid.

    Size, position, rotation and stroke width of the digit are random.
    """
    font = ImageFont.truetype(typeface, int(rng.integers(140, 190)), layout_engine=ImageFont.Layout.BASIC)
    x, y = (DRAWN_SIDE // 2 + int(shift) for shift in rng.integers(-9, 10, 2))
    image = Image.new("L", (DRAWN_SIDE, DRAWN_SIDE))
    stroke = int(rng.integers(0, 7))
    ImageDraw.Draw(image).text((x, y), digit, fill=255, font=font, anchor="mm", stroke_width=stroke)
    return image.rotate(int(rng.integers(-16, 17)), Image.Resampling.BILINEAR).reduce(DRAWN_SIDE // GRID_SIDE)


@cache
def typefaces() -> tuple[Path, ...]:
    """Return the files of the fonts that digits are drawn in, sorted by name; MissingError where there are none."""
    spec = find_spec("matplotlib")
    folders = spec.submodule_search_locations if spec else None
    files = [file for folder in folders or () for file in Path(folder, "mpl-data/fonts/ttf").glob("*.ttf")]
    usable = [file for file in files if file.name.startswith(TYPEFACES) and "Display" not in file.name]
    if not usable:
        raise MissingError('digits drawn in fonts need the fonts inside matplotlib: pip install "bob-gauntlet[mini]"')
    return tuple(sorted(usable, key=lambda file: file.name))

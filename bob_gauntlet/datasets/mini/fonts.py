"""`fonts-digits`: trained on digits drawn in fonts, tested on handwritten ones; the fonts lie in matplotlib's wheel.

matplotlib itself is never imported.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.mini.build import Example, generator, split
from bob_gauntlet.datasets.mini.classification import load_digits
from bob_gauntlet.errors import MissingError

TYPEFACES = ("DejaVu", "STIXGeneral", "cmb10", "cmr10", "cmss10", "cmti10", "cmtt10")
"""Beginnings of the names of matplotlib's fonts that have the ten digits."""

COUNTS = {"train": 1000, "val": 300, "source": 300}
"""Role -> drawn digits, a tenth of each."""

DRAWN, GRID, SIDE = 128, 8, 32
"""Digits are drawn large, averaged down to the grid of the handwritten ones, and blown up like them."""


def load_fonts_digits() -> Dataset:
    """Synthetic to real: 1,000 drawn digits to train, 300 to validate, 300 as source; the 497 test images of `digits`.

    A small twin of VisDA.
    """
    drawn = {role: split(role, [_example(role, i) for i in range(count)]) for role, count in COUNTS.items()}
    real = load_digits()
    return Dataset("fonts-digits", {**drawn, "test": real["test"]}, classes=real.classes)


def _example(role: str, index: int) -> Example:
    rng = generator("fonts-digits", 1, role, index)
    typeface = typefaces()[int(rng.integers(len(typefaces())))]
    digit = index % 10
    return Example(f"font-{role}-{index:04}", digit, typeface.stem, drawn_digit(str(digit), typeface, rng))


def drawn_digit(digit: str, typeface: Path, rng: np.random.Generator) -> Image.Image:
    """Light on dark or dark on light; as coarse as the handwritten ones."""
    coarse = coarse_digit(digit, typeface, rng).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    ground, ink = int(rng.integers(0, 60)), int(rng.integers(200, 256))
    if rng.integers(2):
        ground, ink = ink, ground
    return coarse.point([(level * ink + (255 - level) * ground) // 255 for level in range(256)]).convert("RGB")


def coarse_digit(digit: str, typeface: Path, rng: np.random.Generator) -> Image.Image:
    """How much ink lies on each cell of the grid, 0 to 255: a digit of random size, place, slant and stroke."""
    font = ImageFont.truetype(typeface, int(rng.integers(140, 190)), layout_engine=ImageFont.Layout.BASIC)
    x, y = (DRAWN // 2 + int(shift) for shift in rng.integers(-9, 10, 2))
    image = Image.new("L", (DRAWN, DRAWN))
    stroke = int(rng.integers(0, 7))
    ImageDraw.Draw(image).text((x, y), digit, fill=255, font=font, anchor="mm", stroke_width=stroke)
    return image.rotate(int(rng.integers(-16, 17)), Image.Resampling.BILINEAR).reduce(DRAWN // GRID)


@cache
def typefaces() -> tuple[Path, ...]:
    """The files of the fonts that digits are drawn in, in the order of names."""
    spec = find_spec("matplotlib")
    folders = spec.submodule_search_locations if spec else None
    files = [file for folder in folders or () for file in Path(folder, "mpl-data/fonts/ttf").glob("*.ttf")]
    found = [file for file in files if file.name.startswith(TYPEFACES) and "ProgressDisplay" not in file.name]
    if not found:
        raise MissingError('digits drawn in fonts need the fonts inside matplotlib: pip install "bob-gauntlet[mini]"')
    return tuple(sorted(found, key=lambda file: file.name))

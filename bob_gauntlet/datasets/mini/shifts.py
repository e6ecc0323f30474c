"""`photos-sketch`, `-rendition`, `-recollected`, `-hard`: the photos' training data, and test images of another kind.

Train and val are the very splits of `photos`, so that features and heads made there are found again; `source` is its
test split. The shifted test images come from the test part of each photo alone. All arithmetic on pixels is on
integers: the same on every machine.
"""

from collections.abc import Callable
from dataclasses import replace
from math import cos, radians, sin, sqrt

import numpy as np
from PIL import Image, ImageFilter

from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.mini.build import Box, Example, generator, random_crop, render, split
from bob_gauntlet.datasets.mini.classification import COUNTS, boxes, load_photos, role_region
from bob_gauntlet.datasets.mini.sources import read_photos

SIDE = 128
"""Of the shifted images, as of the photos' own crops."""

FINE = 3
"""A warped image is sampled at so many times its side, then averaged."""

Corners = list[tuple[int, int]]
"""Top left, top right, bottom right and bottom left, (x, y) in pixels."""


def load_photos_sketch() -> Dataset:
    """The test crops of `photos` as pencil sketches: edges alone, without colour or shade (twin of ImageNet-Sketch)."""
    return _shifted("photos-sketch", _restyled(lambda crop, rng: sketch(crop)))


def load_photos_rendition() -> Dataset:
    """The test crops of `photos` as painted posters: other colours, few of them, brush strokes (twin of ImageNet-R)."""
    return _shifted("photos-rendition", _restyled(rendition))


def load_photos_recollected() -> Dataset:
    """New crops of the photos' test parts, of other scale, viewpoint and brightness (twin of ImageNet-V2)."""
    return _shifted("photos-recollected", _anew("recollected", recollected))


def load_photos_hard() -> Dataset:
    """Small crops of the photos' test parts, of low contrast and partly hidden (twin of ImageNet-A)."""
    return _shifted("photos-hard", _anew("hard", hard))


def _shifted(name: str, test: Split) -> Dataset:
    """`photos` with another test split; its own becomes `source`."""
    photos = load_photos()
    source = replace(photos["test"], role="source")
    splits = {"train": photos["train"], "val": photos["val"], "source": source, "test": test}
    return Dataset(name, splits, classes=photos.classes)


def _restyled(style: Callable[[Image.Image, np.random.Generator], Image.Image]) -> Split:
    """The test crops of `photos`, under their own ids, each drawn in another style."""
    return split(
        "test",
        [
            Example(f"{name}-test-{i:02}", target, name, style(render(photo, box), rng))
            for target, (name, photo) in enumerate(read_photos().items())
            for i, box in enumerate(boxes(name, photo.size, "test"))
            for rng in [generator("shifts", 1, "restyled", name, i)]
        ],
    )


def _anew(shift: str, take: Callable[[Image.Image, Box, np.random.Generator], Image.Image]) -> Split:
    """New images from the test part of every photo, as many as `photos` has."""
    return split(
        "test",
        [
            Example(f"{name}-{shift}-{i:02}", target, name, take(photo, role_region(photo.size, "test"), rng))
            for target, (name, photo) in enumerate(read_photos().items())
            for rng in [generator("shifts", 1, shift, name)]
            for i in range(COUNTS["test"])
        ],
    )


def sketch(image: Image.Image) -> Image.Image:
    """Dark lines on white where brightness changes, the strongest tenth of them black.

    >>> sketch(Image.new("RGB", (8, 8), (9, 99, 199))).getcolors()
    [(64, (255, 255, 255))]
    """
    grey = np.pad(np.asarray(image.convert("L"), np.int64), 2, mode="edge")
    smooth = _three(_three(grey, (1, 2, 1), 0), (1, 2, 1), 1)
    across = _three(_three(smooth, (-1, 0, 1), 1), (1, 2, 1), 0)
    down = _three(_three(smooth, (-1, 0, 1), 0), (1, 2, 1), 1)
    strength = np.sqrt(across**2 + down**2).astype(np.int64)
    ordered = np.sort(strength, axis=None)
    faint, strong = int(ordered[len(ordered) // 2]), int(ordered[len(ordered) * 9 // 10])
    ink = np.clip((strength - faint) * 255 // max(strong - faint, 400), 0, 255)
    return Image.fromarray((255 - ink).astype(np.uint8)).convert("RGB")


def _three(values: np.ndarray, weights: tuple[int, int, int], axis: int) -> np.ndarray:
    """Each inner value and its two neighbours along an axis, weighted and summed."""
    size = values.shape[axis]
    before, here, after = (np.take(values, range(i, size - 2 + i), axis) for i in range(3))
    found: np.ndarray = weights[0] * before + weights[1] * here + weights[2] * after
    return found


def rendition(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Flat patches of a few levels a channel, the hue turned, tinted, under diagonal strokes."""
    flat = np.asarray(image.filter(ImageFilter.MedianFilter(3)), np.int64)
    turned = np.clip(flat @ hue_turn(int(rng.integers(60, 301))) // 256, 0, 255)
    levels = int(rng.integers(4, 6))
    few = turned * levels // 256 * 255 // (levels - 1)
    tinted = few * rng.integers(150, 257, 3) // 256 + rng.integers(0, 40, 3)
    return Image.fromarray(np.clip(tinted + strokes(rng)[..., None], 0, 255).astype(np.uint8))


def hue_turn(degrees: int) -> np.ndarray:
    """(3, 3) integers, 256ths: right-multiplied to RGB they turn colours about the grey axis.

    >>> hue_turn(120).tolist()
    [[0, 256, 0], [0, 0, 256], [256, 0, 0]]
    """
    angle = radians(degrees)
    even, odd = (1 - cos(angle)) / 3, sin(angle) / sqrt(3)
    # round(...) leaves the same integers whatever the last bit of the cosine
    same, next_, last = (round(256 * share) for share in (1 - 2 * even, even + odd, even - odd))
    return np.array([[same, next_, last], [last, same, next_], [next_, last, same]], np.int64)


def strokes(rng: np.random.Generator, length: int = 12) -> np.ndarray:
    """(SIDE, SIDE) integers of about -30 to 30: noise smeared along a diagonal that leans left or right."""
    noise = rng.integers(-90, 91, (SIDE + length, SIDE + length))
    smeared: np.ndarray = sum(noise[i : i + SIDE, i : i + SIDE] for i in range(length)) // length  # type: ignore
    return smeared if rng.integers(2) else smeared[:, ::-1]


def recollected(photo: Image.Image, within: Box, rng: np.random.Generator) -> Image.Image:
    """A nearer or wider view, seen askew, brighter or darker."""
    square = render(photo, random_crop(rng, within, 0.3, 1.0), FINE * SIDE)
    seen = np.asarray(warped(square, askew(rng)), np.int64)
    gain, lift = int(rng.integers(150, 300)), int(rng.integers(-20, 21))
    return Image.fromarray(np.clip(seen * gain // 256 + lift, 0, 255).astype(np.uint8))


def askew(rng: np.random.Generator) -> Corners:
    """The corners of a square of FINE x SIDE, each moved inwards by up to a quarter: tilted and turned."""
    last = FINE * SIDE - 1
    shifts = rng.integers(0, last // 4 + 1, (4, 2)).tolist()
    square = ((0, 0), (last, 0), (last, last), (0, last))
    return [(abs(x - i), abs(y - j)) for (x, y), (i, j) in zip(square, shifts, strict=True)]


def warped(square: Image.Image, corners: Corners) -> Image.Image:
    """What lies between four corners of a square of FINE x SIDE, stretched to SIDE: means of FINE x FINE pixels."""
    last = FINE * SIDE - 1
    u, v = np.meshgrid(np.arange(last + 1), np.arange(last + 1))
    shares = np.stack([(last - u) * (last - v), u * (last - v), u * v, (last - u) * v])
    x, y = ((np.tensordot(np.array(ends), shares, 1) + last**2 // 2) // last**2 for ends in zip(*corners, strict=True))
    return Image.fromarray(np.asarray(square)[y, x]).reduce(FINE)


def hard(photo: Image.Image, within: Box, rng: np.random.Generator) -> Image.Image:
    """A crop of two fifths of the usual side, behind haze, with a patch of any one colour over it."""
    found = np.asarray(render(photo, random_crop(rng, within, 0.2, 0.35), SIDE), np.int64)
    share, haze = int(rng.integers(100, 180)), rng.integers(80, 176)
    dull = (found * share + haze * (256 - share)) // 256
    width, height = rng.integers(SIDE * 2 // 5, SIDE * 7 // 10, 2).tolist()
    x, y = int(rng.integers(0, SIDE - width + 1)), int(rng.integers(0, SIDE - height + 1))
    dull[y : y + height, x : x + width] = rng.integers(0, 256, 3)
    return Image.fromarray(dull.astype(np.uint8))

"""The shifted datasets `photos-sketch`, `photos-rendition`, `photos-recollected` and `photos-hard`.

Their `train` and `val` are the splits of `photos`, so that stored features and heads are reused; `source` is the test
split of `photos`. The shifted test images are made from the test region of each photo only. All arithmetic on pixels
uses integers, so that images are the same on every machine.
"""

from collections.abc import Callable
from dataclasses import replace
from math import cos, radians, sin, sqrt

import numpy as np
from PIL import Image, ImageFilter

from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.mini.build import Box, Example, build_split, generator, random_crop, render
from bob_gauntlet.datasets.mini.classification import CROPS_PER_PHOTO, crop_boxes, load_photos, role_region
from bob_gauntlet.datasets.mini.sources import read_photos

SIDE = 128
"""Side of the shifted images in px, equal to that of the crops of `photos`."""

OVERSAMPLING = 3
"""A warped image is sampled at this multiple of its side, and then averaged."""

Corners = list[tuple[int, int]]
"""Top left, top right, bottom right and bottom left corner, each (x, y) in pixels."""


def load_photos_sketch() -> Dataset:
    """Load `photos-sketch`: the test crops of `photos` as pencil sketches of edges (a twin of ImageNet-Sketch)."""
    return _shifted("photos-sketch", _restyle_test_crops(lambda crop, rng: draw_sketch(crop)))


def load_photos_rendition() -> Dataset:
    """Load `photos-rendition`, a twin of ImageNet-R.

    The test crops of `photos` are painted like posters: in other colours, in few of them, and with brush strokes.
    """
    return _shifted("photos-rendition", _restyle_test_crops(paint_rendition))


def load_photos_recollected() -> Dataset:
    """Load `photos-recollected`: new test crops of another scale, viewpoint and brightness (a twin of ImageNet-V2)."""
    return _shifted("photos-recollected", _new_test_crops("recollected", recollect))


def load_photos_hard() -> Dataset:
    """Load `photos-hard`: small test crops of low contrast that are partly hidden (a twin of ImageNet-A)."""
    return _shifted("photos-hard", _new_test_crops("hard", make_hard))


def _shifted(name: str, test: Split) -> Dataset:
    """Return `photos` with another test split; the test split of `photos` becomes `source`."""
    photos = load_photos()
    source = replace(photos["test"], role="source")
    splits = {"train": photos["train"], "val": photos["val"], "source": source, "test": test}
    return Dataset(name, splits, classes=photos.classes)


def _restyle_test_crops(style: Callable[[Image.Image, np.random.Generator], Image.Image]) -> Split:
    """Return the test crops of `photos` in another style, with the same ids."""
    return build_split(
        "test",
        [
            Example(f"{name}-test-{i:02}", target, name, style(render(photo, box), rng))
            for target, (name, photo) in enumerate(read_photos().items())
            for i, box in enumerate(crop_boxes(name, photo.size, "test"))
            for rng in [generator("shifts", 1, "restyled", name, i)]
        ],
    )


def _new_test_crops(shift: str, take: Callable[[Image.Image, Box, np.random.Generator], Image.Image]) -> Split:
    """Return new images from the test region of every photo, as many as the test split of `photos` has."""
    return build_split(
        "test",
        [
            Example(f"{name}-{shift}-{i:02}", target, name, take(photo, role_region(photo.size, "test"), rng))
            for target, (name, photo) in enumerate(read_photos().items())
            for rng in [generator("shifts", 1, shift, name)]
            for i in range(CROPS_PER_PHOTO["test"])
        ],
    )


def draw_sketch(image: Image.Image) -> Image.Image:
    """Return dark lines on white where brightness changes (Sobel filter); the strongest tenth of the pixels is black.

    >>> draw_sketch(Image.new("RGB", (8, 8), (9, 99, 199))).getcolors()
    [(64, (255, 255, 255))]
    """
    grey = np.pad(np.asarray(image.convert("L"), np.int64), 2, mode="edge")
    smooth = _filter(_filter(grey, (1, 2, 1), 0), (1, 2, 1), 1)
    across = _filter(_filter(smooth, (-1, 0, 1), 1), (1, 2, 1), 0)
    down = _filter(_filter(smooth, (-1, 0, 1), 0), (1, 2, 1), 1)
    strength = np.sqrt(across**2 + down**2).astype(np.int64)
    ordered = np.sort(strength, axis=None)
    faint, strong = int(ordered[len(ordered) // 2]), int(ordered[len(ordered) * 9 // 10])
    ink = np.clip((strength - faint) * 255 // max(strong - faint, 400), 0, 255)
    return Image.fromarray((255 - ink).astype(np.uint8)).convert("RGB")


def _filter(values: np.ndarray, weights: tuple[int, int, int], axis: int) -> np.ndarray:
    """Return the weighted sum of each inner value and its two neighbours along an axis."""
    size = values.shape[axis]
    previous, current, following = (np.take(values, range(i, size - 2 + i), axis) for i in range(3))
    weighted_sum: np.ndarray = weights[0] * previous + weights[1] * current + weights[2] * following
    return weighted_sum


def paint_rendition(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the image in a few flat levels of each channel, with another hue, a tint and diagonal brush strokes."""
    flat = np.asarray(image.filter(ImageFilter.MedianFilter(3)), np.int64)
    rotated = np.clip(flat @ hue_rotation(int(rng.integers(60, 301))) // 256, 0, 255)
    levels = int(rng.integers(4, 6))
    posterised = rotated * levels // 256 * 255 // (levels - 1)
    tinted = posterised * rng.integers(150, 257, 3) // 256 + rng.integers(0, 40, 3)
    return Image.fromarray(np.clip(tinted + brush_strokes(rng)[..., None], 0, 255).astype(np.uint8))


def hue_rotation(degrees: int) -> np.ndarray:
    """Return a (3, 3) integer matrix, in units of 1/256; `rgb @ matrix` rotates colours about the grey axis.

    >>> hue_rotation(120).tolist()
    [[0, 256, 0], [0, 0, 256], [256, 0, 0]]
    """
    angle = radians(degrees)
    even, odd = (1 - cos(angle)) / 3, sin(angle) / sqrt(3)
    # rounding gives the same integers on machines whose cosines differ in the last bit
    same, next_, last = (round(256 * share) for share in (1 - 2 * even, even + odd, even - odd))
    return np.array([[same, next_, last], [last, same, next_], [next_, last, same]], np.int64)


def brush_strokes(rng: np.random.Generator, length: int = 12) -> np.ndarray:
    """Return (SIDE, SIDE) integers of about -30 to 30: noise that is averaged along one of the two diagonals."""
    noise = rng.integers(-90, 91, (SIDE + length, SIDE + length))
    smeared: np.ndarray = sum(noise[i : i + SIDE, i : i + SIDE] for i in range(length)) // length  # type: ignore
    return smeared if rng.integers(2) else smeared[:, ::-1]


def recollect(photo: Image.Image, region: Box, rng: np.random.Generator) -> Image.Image:
    """Return a nearer or wider view of a region in another perspective, brighter or darker."""
    square = render(photo, random_crop(rng, region, 0.3, 1.0), OVERSAMPLING * SIDE)
    view = np.asarray(warp(square, random_corners(rng)), np.int64)
    gain, offset = int(rng.integers(150, 300)), int(rng.integers(-20, 21))
    return Image.fromarray(np.clip(view * gain // 256 + offset, 0, 255).astype(np.uint8))


def random_corners(rng: np.random.Generator) -> Corners:
    """Return the corners of a square of side OVERSAMPLING x SIDE, each moved inwards by up to a quarter of the side."""
    last = OVERSAMPLING * SIDE - 1
    shifts = rng.integers(0, last // 4 + 1, (4, 2)).tolist()
    square = ((0, 0), (last, 0), (last, last), (0, last))
    return [(abs(x - i), abs(y - j)) for (x, y), (i, j) in zip(square, shifts, strict=True)]


def warp(square: Image.Image, corners: Corners) -> Image.Image:
    """Return the quadrilateral between four corners, stretched to a square of side SIDE.

    The side of `square` is OVERSAMPLING x SIDE; each pixel is the mean of OVERSAMPLING x OVERSAMPLING samples.
    """
    last = OVERSAMPLING * SIDE - 1
    u, v = np.meshgrid(np.arange(last + 1), np.arange(last + 1))
    shares = np.stack([(last - u) * (last - v), u * (last - v), u * v, (last - u) * v])
    x, y = ((np.tensordot(np.array(ends), shares, 1) + last**2 // 2) // last**2 for ends in zip(*corners, strict=True))
    return Image.fromarray(np.asarray(square)[y, x]).reduce(OVERSAMPLING)


def make_hard(photo: Image.Image, region: Box, rng: np.random.Generator) -> Image.Image:
    """Return a crop of about two fifths of the usual side, in haze, and partly covered by a patch of one colour."""
    crop = np.asarray(render(photo, random_crop(rng, region, 0.2, 0.35), SIDE), np.int64)
    share, haze = int(rng.integers(100, 180)), rng.integers(80, 176)
    hazy = (crop * share + haze * (256 - share)) // 256
    width, height = rng.integers(SIDE * 2 // 5, SIDE * 7 // 10, 2).tolist()
    x, y = int(rng.integers(0, SIDE - width + 1)), int(rng.integers(0, SIDE - height + 1))
    hazy[y : y + height, x : x + width] = rng.integers(0, 256, 3)
    return Image.fromarray(hazy.astype(np.uint8))

"""`photo-scenes` and `fonts-scenes`: where things are, to the pixel; small twins of COCO, and of Sim10k to Cityscapes.

All arithmetic on pixels is on integers: the same on every machine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from PIL import Image

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.mini.build import Box, Example, generator, random_crop, render, split
from bob_gauntlet.datasets.mini.classification import DIGITS, role_region
from bob_gauntlet.datasets.mini.fonts import coarse_digit, typefaces
from bob_gauntlet.datasets.mini.scenes import ink, present
from bob_gauntlet.datasets.mini.sources import read_digits, read_photos
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.datasets.rle import encode_mask

COUNTS = {"train": 240, "val": 60, "test": 120}
"""Role -> scenes."""

EDGES = (96, 128, 160)
"""Widths and heights of scenes in px."""

SCALES = ((16, 27), (28, 45), (46, 72))
"""Smallest and largest side, in px, of the square that an object is drawn in: small, medium and large, as often."""

MOST = 5
"""Objects of a scene at most; fewer where one would hide another."""

EMPTY = 30
"""One photo of so many stays without objects."""

SEEN = 3
"""Of each object at least one in so many pixels stays visible."""

ALIKE = 4
"""At most one in so many pixels of an object lies on others of its class, from which it could not be told."""

HALF = 128
"""Of 255: a pixel at least so opaque belongs to the object."""

CUT_OUTS = ("brick", "chelsea", "coins", "ihc", "retina")
"""Photos that pieces are cut from, a class each; none of them is a background."""

CLASSES = ("digit", *CUT_OUTS)
"""Any digit is of the first."""

CROPS = (0.3, 0.9)
"""Smallest and largest side of a background's crop, of the short side of its photo's part."""

PIECES = (0.5, 1.0)
"""The same of a piece's crop, of the middle of its photo's part."""

Paint = Callable[[Image.Image, Box, np.random.Generator], Image.Image]
"""Paints an object over a square of an image, and gives its opacity there, "L" of the square's size."""


@dataclass
class Scene:
    """An image in the making; of each object its class index, the pixels it has, and those of them still visible.

    A later object hides what is under it.
    """

    image: Image.Image
    labels: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)

    def add(self, label: int, paint: Paint, rng: np.random.Generator) -> None:
        """Paint an object at a random place and scale, unless it would hide too much or be hard to tell apart."""
        box = random_square(rng, self.image.size)
        painted, mask = self.image.copy(), Image.new("L", self.image.size)
        mask.paste(paint(painted, box, rng), box)
        new = np.asarray(mask) >= HALF
        left = [old & ~new for old in self.masks]
        seen = all(SEEN * int(now.sum()) >= size for now, size in zip(left, self.sizes, strict=True))
        alike = sum(int((new & old).sum()) for old, one in zip(self.masks, self.labels, strict=True) if one == label)
        if seen and ALIKE * alike <= int(new.sum()):
            self.image, self.masks = painted, [*left, new]
            self.labels.append(label)
            self.sizes.append(int(new.sum()))

    @property
    def objects(self) -> ImageObjects:
        """What is visible, as annotations."""
        return ImageObjects(
            *self.image.size,
            boxes=np.array([bounds(mask) for mask in self.masks], np.float64).reshape(-1, 4),
            labels=np.array(self.labels, np.int64),
            areas=np.array([mask.sum() for mask in self.masks], np.float64),
            crowd=np.zeros(len(self.masks), bool),
            masks=tuple(encode_mask(mask) for mask in self.masks),
        )

    def example(self, name: str, cluster: str, classes: int) -> Example:
        """The finished scene, with {0, 1} for each of so many classes as its target."""
        return Example(name, present(self.labels, classes), cluster, self.image, self.objects)


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, width and height of what is set in a (height, width) mask.

    >>> bounds(np.array([[0, 0, 0], [0, 1, 1]], bool))
    (1, 1, 2, 1)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


def load_photo_scenes() -> Dataset:
    """420 scenes of 0 to 5 objects on a crop of a photo: handwritten digits, one class, and pieces of five photos.

    Digits and parts of photos are those of `digits` and `photos`: none is in two roles. Clusters are the photos behind.
    """
    splits = {
        role: split(role, [_on_photo("photo-scenes", role, i, CLASSES) for i in range(count)])
        for role, count in COUNTS.items()
    }
    return Dataset("photo-scenes", splits, CLASSES, multi_label=True)


def load_fonts_scenes() -> Dataset:
    """Synthetic to real: digits drawn in fonts on flat colour to train and validate, handwritten on photos to test."""
    drawn = {role: split(role, [_flat(role, i) for i in range(COUNTS[role])]) for role in ("train", "val")}
    real = [_on_photo("fonts-scenes", "test", i, CLASSES[:1]) for i in range(COUNTS["test"])]
    return Dataset("fonts-scenes", {**drawn, "test": split("test", real)}, CLASSES[:1], multi_label=True)


def _on_photo(dataset: str, role: str, index: int, classes: Sequence[str]) -> Example:
    """A scene on a crop of a photo, of objects of random classes."""
    rng = generator(dataset, 1, role, index)
    behind = {name: photo for name, photo in read_photos().items() if name not in CUT_OUTS}
    name, photo = list(behind.items())[index % len(behind)]
    width, height = random_size(rng)
    crop = random_crop(rng, role_region(photo.size, role), *CROPS)
    scene = Scene(render(photo, crop, max(width, height)).crop((0, 0, width, height)))
    for _ in range(int(rng.integers(1, MOST + 1)) if index % EMPTY < EMPTY - 1 else 0):
        label = int(rng.integers(len(classes)))
        scene.add(label, handwritten_digit(role, rng) if label == 0 else partial(cut_out, classes[label], role), rng)
    return scene.example(f"scene-{role}-{index:03}", name, len(classes))


def _flat(role: str, index: int) -> Example:
    """A scene of digits in one typeface, which is its cluster, on one colour."""
    rng = generator("fonts-scenes", 1, role, index)
    typeface = typefaces()[int(rng.integers(len(typefaces())))]
    scene = Scene(Image.new("RGB", random_size(rng), tuple(rng.integers(0, 256, 3).tolist())))
    for _ in range(int(rng.integers(1, MOST + 1))):
        digit = np.asarray(coarse_digit(str(rng.integers(10)), typeface, rng))
        scene.add(0, partial(write, digit), rng)
    return scene.example(f"scene-{role}-{index:03}", typeface.stem, 1)


def random_size(rng: np.random.Generator) -> tuple[int, int]:
    """Width and height of a scene."""
    width, height = rng.choice(EDGES, 2).tolist()
    return width, height


def random_square(rng: np.random.Generator, size: tuple[int, int]) -> Box:
    """Where an object is drawn, inside an image of that size."""
    smallest, largest = SCALES[int(rng.integers(len(SCALES)))]
    side = int(rng.integers(smallest, largest + 1))
    x, y = (int(rng.integers(0, edge - side + 1)) for edge in size)
    return x, y, x + side, y + side


def handwritten_digit(role: str, rng: np.random.Generator) -> Paint:
    """Any of a role's digits."""
    return partial(write, read_digits()[0][int(rng.integers(*DIGITS[role]))])


def write(digit: np.ndarray, image: Image.Image, box: Box, rng: np.random.Generator) -> Image.Image:
    """Draw a digit, (8, 8) uint8, with edges that are sharp at any scale."""
    side = box[2] - box[0]
    smooth = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    gain = max(1, side // 8)
    opacity = smooth.point([min(max(HALF + (level - HALF) * gain, 0), 255) for level in range(256)])
    ink(image, opacity, box, rng)
    return opacity


def cut_out(name: str, role: str, image: Image.Image, box: Box, rng: np.random.Generator) -> Image.Image:
    """Paste a piece of a role's part of a photo, in one of three kinds of outline."""
    photo, side = read_photos()[name], box[2] - box[0]
    piece = render(photo, random_crop(rng, middle(role_region(photo.size, role)), *PIECES), side)
    outline = OUTLINES[int(rng.integers(len(OUTLINES)))](side, rng)
    image.paste(piece, box, outline)
    return outline


def middle(box: Box) -> Box:
    """The middle half of a box's height: the retina's photo is black above and below.

    >>> middle((10, 0, 20, 80))
    (10, 20, 20, 60)
    """
    left, top, right, bottom = box
    quarter = (bottom - top) // 4
    return left, top + quarter, right, bottom - quarter


def disc(side: int, rng: np.random.Generator) -> Image.Image:
    """An upright ellipse."""
    y, x = 2 * np.indices((side, side)) - side + 1
    width, height = (int(edge) for edge in rng.integers(side * 6 // 10, side + 1, 2))
    return _opacity((x * height) ** 2 + (y * width) ** 2 <= (width * height) ** 2)


def polygon(side: int, rng: np.random.Generator) -> Image.Image:
    """A square from which four to six straight cuts are made, in any direction."""
    y, x = 2 * np.indices((side, side)) - side + 1
    kept = np.ones((side, side), bool)
    for _ in range(int(rng.integers(4, 7))):
        across, down = (int(step) for step in rng.integers(-8, 9, 2))
        distance = int(rng.integers(side // 2, side))
        beyond = across * x + down * y
        kept &= (beyond <= 0) | (beyond**2 <= distance**2 * (across**2 + down**2))
    return _opacity(kept)


def blob(side: int, rng: np.random.Generator) -> Image.Image:
    """A bulging thing: a grid of random heights, highest in the middle, made smooth and cut at one height."""
    grid = np.zeros((6, 6), np.uint8)
    grid[1:5, 1:5] = rng.integers(0, 256, (4, 4))
    grid[2:4, 2:4] = 255
    smooth = Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC)
    return smooth.point([255 * (level >= 64) for level in range(256)])


OUTLINES: Sequence[Callable[[int, np.random.Generator], Image.Image]] = (disc, polygon, blob)
"""Outlines of pieces."""


def _opacity(kept: np.ndarray) -> Image.Image:
    return Image.fromarray(np.where(kept, np.uint8(255), np.uint8(0)))

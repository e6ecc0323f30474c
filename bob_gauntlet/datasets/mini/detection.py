"""The detection datasets `photo-scenes` and `fonts-scenes`, small twins of COCO and of Sim10k to Cityscapes.

Masks are exact to the pixel. All arithmetic on pixels uses integers, so that images are the same on every machine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from PIL import Image

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.mini.build import Box, Example, build_split, generator, random_crop, render
from bob_gauntlet.datasets.mini.classification import DIGIT_RANGES, role_region
from bob_gauntlet.datasets.mini.fonts import draw_coarse_digit, typefaces
from bob_gauntlet.datasets.mini.scenes import draw_ink, multi_hot
from bob_gauntlet.datasets.mini.sources import read_digits, read_photos
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.datasets.rle import encode_mask

COUNTS = {"train": 240, "val": 60, "test": 120}
"""Role -> number of images."""

IMAGE_SIDES = (96, 128, 160)
"""Possible widths and heights of images in px."""

OBJECT_SIDES = ((16, 27), (28, 45), (46, 72))
"""Smallest and largest side, in px, of the square of a small, medium and large object; all three are equally likely."""

MAX_OBJECTS = 5
"""Largest number of objects in an image; there are fewer where one would hide another."""

EMPTY_ONE_IN = 30
"""One in this many images on photos has no objects."""

VISIBLE_ONE_IN = 3
"""At least one in this many pixels of each object stays visible."""

COVERED_ONE_IN = 4
"""At most one in this many pixels of an object may cover objects of its class, since the two would look like one."""

OPACITY_THRESHOLD = 128
"""Pixels with at least this opacity (of 255) belong to the object."""

PIECE_PHOTOS = ("brick", "chelsea", "coins", "ihc", "retina")
"""Photos that pieces are cut from; each photo is a class, and none of them is a background."""

CLASSES = ("digit", *PIECE_PHOTOS)
"""All ten digits are of the first class."""

BACKGROUND_SHARES = (0.3, 0.9)
"""Smallest and largest side of a background's crop, as a fraction of the short side of its photo's region."""

PIECE_SHARES = (0.5, 1.0)
"""Smallest and largest side of a piece's crop, as a fraction of the short side of the middle of its photo's region."""

Paint = Callable[[Image.Image, Box, np.random.Generator], Image.Image]
"""Paints an object in a square of an image, and returns its opacity: an image of mode "L" and of the square's size."""


@dataclass
class ComposedImage:
    """An image that objects are painted on one after another; a later object hides what is under it.

    For each object there are its class index (`labels`), its number of pixels when it was painted (`sizes`), and the
    mask of its pixels that are still visible (`masks`).
    """

    image: Image.Image
    labels: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)

    def add(self, label: int, paint: Paint, rng: np.random.Generator) -> None:
        """Paint an object at a random place and scale.

        The object is left out where it would hide too much of an earlier one (VISIBLE_ONE_IN), or cover too much of
        its own class (COVERED_ONE_IN).
        """
        box = random_square(rng, self.image.size)
        painted, mask = self.image.copy(), Image.new("L", self.image.size)
        mask.paste(paint(painted, box, rng), box)
        new = np.asarray(mask) >= OPACITY_THRESHOLD
        remaining = [old & ~new for old in self.masks]
        all_visible = all(
            VISIBLE_ONE_IN * int(visible.sum()) >= size for visible, size in zip(remaining, self.sizes, strict=True)
        )
        covered = sum(
            int((new & old).sum()) for old, old_label in zip(self.masks, self.labels, strict=True) if old_label == label
        )
        if all_visible and COVERED_ONE_IN * covered <= int(new.sum()):
            self.image, self.masks = painted, [*remaining, new]
            self.labels.append(label)
            self.sizes.append(int(new.sum()))

    @property
    def objects(self) -> ImageObjects:
        """Annotations of the visible pixels of all objects."""
        return ImageObjects(
            *self.image.size,
            boxes=np.array([bounding_box(mask) for mask in self.masks], np.float64).reshape(-1, 4),
            labels=np.array(self.labels, np.int64),
            areas=np.array([mask.sum() for mask in self.masks], np.float64),
            crowd=np.zeros(len(self.masks), bool),
            masks=tuple(encode_mask(mask) for mask in self.masks),
        )

    def example(self, name: str, cluster: str, classes: int) -> Example:
        """Return the finished image as an example; its target is {0, 1} for each of `classes` classes."""
        return Example(name, multi_hot(self.labels, classes), cluster, self.image, self.objects)


def bounding_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return left, top, width and height of the pixels that are set in a (height, width) mask.

    >>> bounding_box(np.array([[0, 0, 0], [0, 1, 1]], bool))
    (1, 1, 2, 1)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


def load_photo_scenes() -> Dataset:
    """Load `photo-scenes`: 420 images of 0 to 5 objects on a crop of a photo.

    Objects are handwritten digits (one class) and pieces of five photos (a class each). Digits and regions of photos
    have the roles that they have in `digits` and `photos`, so that none is in two roles. Clusters are the photos in the
    background.
    """
    splits = {
        role: build_split(role, [_photo_scene("photo-scenes", role, i, CLASSES) for i in range(count)])
        for role, count in COUNTS.items()
    }
    return Dataset("photo-scenes", splits, CLASSES, multi_label=True)


def load_fonts_scenes() -> Dataset:
    """Load `fonts-scenes`, synthetic to real.

    `train` and `val` are digits drawn in fonts on a flat colour; `test` are handwritten digits on photos.
    """
    drawn = {role: build_split(role, [_flat_scene(role, i) for i in range(COUNTS[role])]) for role in ("train", "val")}
    real = [_photo_scene("fonts-scenes", "test", i, CLASSES[:1]) for i in range(COUNTS["test"])]
    return Dataset("fonts-scenes", {**drawn, "test": build_split("test", real)}, CLASSES[:1], multi_label=True)


def _photo_scene(dataset: str, role: str, index: int, classes: Sequence[str]) -> Example:
    """Return an image with objects of random classes on a crop of a photo."""
    rng = generator(dataset, 1, role, index)
    backgrounds = {name: photo for name, photo in read_photos().items() if name not in PIECE_PHOTOS}
    name, photo = list(backgrounds.items())[index % len(backgrounds)]
    width, height = random_size(rng)
    crop = random_crop(rng, role_region(photo.size, role), *BACKGROUND_SHARES)
    scene = ComposedImage(render(photo, crop, max(width, height)).crop((0, 0, width, height)))
    for _ in range(int(rng.integers(1, MAX_OBJECTS + 1)) if index % EMPTY_ONE_IN < EMPTY_ONE_IN - 1 else 0):
        label = int(rng.integers(len(classes)))
        scene.add(label, random_digit(role, rng) if label == 0 else partial(paste_piece, classes[label], role), rng)
    return scene.example(f"scene-{role}-{index:03}", name, len(classes))


def _flat_scene(role: str, index: int) -> Example:
    """Return an image of digits on one colour; all are in one typeface, which is the image's cluster."""
    rng = generator("fonts-scenes", 1, role, index)
    typeface = typefaces()[int(rng.integers(len(typefaces())))]
    scene = ComposedImage(Image.new("RGB", random_size(rng), tuple(rng.integers(0, 256, 3).tolist())))
    for _ in range(int(rng.integers(1, MAX_OBJECTS + 1))):
        digit = np.asarray(draw_coarse_digit(str(rng.integers(10)), typeface, rng))
        scene.add(0, partial(draw_digit, digit), rng)
    return scene.example(f"scene-{role}-{index:03}", typeface.stem, 1)


def random_size(rng: np.random.Generator) -> tuple[int, int]:
    """Return a random width and height of an image, in px."""
    width, height = rng.choice(IMAGE_SIDES, 2).tolist()
    return width, height


def random_square(rng: np.random.Generator, size: tuple[int, int]) -> Box:
    """Return a random square for an object, inside an image of (width, height) `size`."""
    smallest, largest = OBJECT_SIDES[int(rng.integers(len(OBJECT_SIDES)))]
    side = int(rng.integers(smallest, largest + 1))
    x, y = (int(rng.integers(0, length - side + 1)) for length in size)
    return x, y, x + side, y + side


def random_digit(role: str, rng: np.random.Generator) -> Paint:
    """Return the function that paints a random handwritten digit of a role."""
    return partial(draw_digit, read_digits()[0][int(rng.integers(*DIGIT_RANGES[role]))])


def draw_digit(digit: np.ndarray, image: Image.Image, box: Box, rng: np.random.Generator) -> Image.Image:
    """Draw an (8, 8) uint8 digit into a box of the image, with sharp edges at any scale; return its opacity."""
    side = box[2] - box[0]
    smooth = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    gain = max(1, side // 8)
    middle = OPACITY_THRESHOLD
    opacity = smooth.point([min(max(middle + (level - middle) * gain, 0), 255) for level in range(256)])
    draw_ink(image, opacity, box, rng)
    return opacity


def paste_piece(name: str, role: str, image: Image.Image, box: Box, rng: np.random.Generator) -> Image.Image:
    """Paste a piece of a role's region of a photo, in one of three kinds of outline; return its opacity."""
    photo, side = read_photos()[name], box[2] - box[0]
    piece = render(photo, random_crop(rng, middle_half(role_region(photo.size, role)), *PIECE_SHARES), side)
    outline = OUTLINES[int(rng.integers(len(OUTLINES)))](side, rng)
    image.paste(piece, box, outline)
    return outline


def middle_half(box: Box) -> Box:
    """Return the middle half of a box's height, since the photo of the retina is black at the top and at the bottom.

    >>> middle_half((10, 0, 20, 80))
    (10, 20, 20, 60)
    """
    left, top, right, bottom = box
    quarter = (bottom - top) // 4
    return left, top + quarter, right, bottom - quarter


def ellipse(side: int, rng: np.random.Generator) -> Image.Image:
    """Return the opacity of an ellipse with upright axes."""
    y, x = 2 * np.indices((side, side)) - side + 1
    width, height = (int(length) for length in rng.integers(side * 6 // 10, side + 1, 2))
    return _opacity_image((x * height) ** 2 + (y * width) ** 2 <= (width * height) ** 2)


def polygon(side: int, rng: np.random.Generator) -> Image.Image:
    """Return the opacity of a square that four to six straight cuts in random directions have made smaller."""
    y, x = 2 * np.indices((side, side)) - side + 1
    kept = np.ones((side, side), bool)
    for _ in range(int(rng.integers(4, 7))):
        across, down = (int(step) for step in rng.integers(-8, 9, 2))
        distance = int(rng.integers(side // 2, side))
        beyond = across * x + down * y
        kept &= (beyond <= 0) | (beyond**2 <= distance**2 * (across**2 + down**2))
    return _opacity_image(kept)


def blob(side: int, rng: np.random.Generator) -> Image.Image:
    """Return the opacity of a smooth random shape.

    A grid of random heights that is highest in the middle is interpolated and cut at one height.
    """
    grid = np.zeros((6, 6), np.uint8)
    grid[1:5, 1:5] = rng.integers(0, 256, (4, 4))
    grid[2:4, 2:4] = 255
    smooth = Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC)
    return smooth.point([255 * (level >= 64) for level in range(256)])


OUTLINES: Sequence[Callable[[int, np.random.Generator], Image.Image]] = (ellipse, polygon, blob)
"""Functions that draw the outline of a piece."""


def _opacity_image(kept: np.ndarray) -> Image.Image:
    """Return an image of mode "L" with 255 where `kept` is True and 0 elsewhere."""
    return Image.fromarray(np.where(kept, np.uint8(255), np.uint8(0)))

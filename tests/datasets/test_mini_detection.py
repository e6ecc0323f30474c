"""Tests of the mini detection datasets: boxes and masks are of visible pixels, and nothing is in two roles."""

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image

from bob_gauntlet.datasets import loading
from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.mini import detection, fonts
from bob_gauntlet.datasets.mini.build import Box, Example, build_split, generator
from bob_gauntlet.datasets.mini.detection import ComposedImage, Paint
from bob_gauntlet.datasets.mini.sources import read_digits, read_photos
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.datasets.rle import decode_mask
from tests.helpers.mini_photos import paint_over_other_roles

load = cache(loading.load)
"""Load a dataset once for all tests that do not patch how it is made."""

# Made by this code on 2026-11-23 (Pillow 13.0, NumPy 2.2, the fonts of matplotlib 3.11). Where a value changes, stored
# scores are no longer comparable: see test_mini.py.
PINNED = {
    "photo-scenes": {"train": "2911f9cb599c6708", "val": "b9957a469f847b94", "test": "8a60be393fc99ce4"},
    "fonts-scenes": {"train": "ee2c6d47f29a88f6", "val": "08fdae6f42a731ef", "test": "a1bffbff33fad141"},
}
SPLITS = [(name, role) for name, roles in PINNED.items() for role in roles]
ON_PHOTOS = [("photo-scenes", "train"), ("photo-scenes", "val"), ("photo-scenes", "test"), ("fonts-scenes", "test")]
BACKGROUNDS = sorted(set(read_photos()) - {"brick", "chelsea", "coins", "ihc", "retina"})

# the ranges of `digits` (see test_mini.py), which do not overlap
RANGES = {"train": range(1000), "val": range(1000, 1300), "test": range(1300, 1797)}


def objects_of(split: Split) -> tuple[ImageObjects, ...]:
    """Return the objects of each image of a split."""
    assert split.objects is not None
    assert len(split.objects) == len(split)
    return split.objects


def decode_masks(objects: ImageObjects) -> np.ndarray:
    """Return the (n, height, width) bool masks of the objects of an image."""
    shape = (len(objects), objects.height, objects.width)
    return np.array([decode_mask(mask) for mask in objects.masks], bool).reshape(shape)


@pytest.mark.parametrize("name", PINNED)
def test_fingerprints_are_pinned(name: str) -> None:
    """Ids, objects, clusters and pixels are those that stored scores were measured on, also in a second load."""
    assert loading.load(name).fingerprints == load(name).fingerprints == PINNED[name]


@pytest.mark.parametrize(("name", "classes"), [("photo-scenes", 6), ("fonts-scenes", 1)])
def test_sizes_are_those_of_the_catalog(name: str, classes: int) -> None:
    """Sizes are those of the catalog, targets say which classes are annotated, and classes are equally frequent."""
    dataset, spec = load(name), CATALOG[name]
    assert spec.size == ", ".join(f"{len(split):,} {role}" for role, split in dataset.splits.items())
    assert spec.classes == str(len(dataset.classes)) == str(classes)
    assert dataset.classes[0] == "digit"
    assert spec.trains_on == ""
    for split in dataset.splits.values():
        assert split.targets.shape == (len(split), classes)
        assert split.targets.dtype == np.uint8
        for target, objects in zip(split.targets, objects_of(split), strict=True):
            assert np.flatnonzero(target).tolist() == sorted(set(objects.labels.tolist()))
        counts = np.bincount(np.concatenate([objects.labels for objects in objects_of(split)]), minlength=classes)
        assert counts.min() > 0.6 * counts.mean()
        assert counts.sum() > 2 * len(split)


@pytest.mark.parametrize(("name", "role"), SPLITS)
def test_masks_are_exact(name: str, role: str) -> None:
    """A box bounds its mask, an area counts its pixels, no pixel is in two objects, and all objects are learnable."""
    for objects in objects_of(load(name)[role]):
        assert len(objects) == len(objects.boxes) == len(objects.masks) == len(objects.areas) <= 5
        assert objects.boxes.shape == (len(objects), 4)
        assert objects.learnable.all()
        assert not objects.crowd.any()
        masks = decode_masks(objects)
        assert masks.sum(axis=0).max(initial=0) <= 1
        for mask, (left, top, width, height), area in zip(masks, objects.boxes, objects.areas, strict=True):
            rows, columns = np.nonzero(mask)
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
            assert area == mask.sum() >= 12


@pytest.mark.parametrize(("name", "role"), SPLITS)
def test_images_are_of_all_sizes(name: str, role: str) -> None:
    """Images have all sizes and 1 to 5 objects of a few to over 40 px, and no two images are equal."""
    split = load(name)[role]
    sizes = [(objects.width, objects.height) for objects in objects_of(split)]
    images = [split.image(i) for i in range(len(split))]
    assert sizes == [image.size for image in images]
    assert {image.mode for image in images} == {"RGB"}
    assert set(sizes) == {(width, height) for width in (96, 128, 160) for height in (96, 128, 160)}
    sides = np.concatenate([objects.boxes[:, 2:].max(axis=1) for objects in objects_of(split)])
    assert sides.min() >= 6
    assert sides.max() <= 72
    assert 0.2 < (sides < 24).mean() < 0.5
    assert 0.2 < (sides > 40).mean() < 0.5
    assert {1, 2, 3, 4, 5} <= {len(objects) for objects in objects_of(split)}
    assert len({image.tobytes() for image in images}) == len(set(split.ids)) == len(split)


@pytest.mark.parametrize(("name", "role"), SPLITS)
def test_a_few_photos_have_no_object(name: str, role: str) -> None:
    """One in thirty images on photos has no object, and every image on a flat colour has one."""
    empty = [len(objects) == 0 for objects in objects_of(load(name)[role])]
    assert sum(empty) == (len(empty) // 30 if (name, role) in ON_PHOTOS else 0)


@pytest.mark.parametrize(("name", "role"), ON_PHOTOS)
def test_every_background_has_its_share_of_images(name: str, role: str) -> None:
    """The cluster of an image is its background photo, none of which pieces are cut from, and all are used equally."""
    counts = Counter(load(name)[role].clusters)
    assert sorted(counts) == BACKGROUNDS
    assert max(counts.values()) - min(counts.values()) <= 1


def test_drawn_images_are_of_every_font() -> None:
    """Drawn digits are on one colour, the cluster of an image is its font, and all 21 fonts are used."""
    for role in ("train", "val"):
        split = load("fonts-scenes")[role]
        assert set(split.clusters) <= {file.stem for file in fonts.typefaces()}
        for index in range(len(split)):
            colours = split.image(index).getcolors(160 * 160)
            assert max(count for count, _ in colours) > 0.4 * np.prod(split.image(index).size)
    assert len(set(load("fonts-scenes")["train"].clusters)) == 21


@pytest.mark.parametrize("role", RANGES)
@pytest.mark.parametrize("name", PINNED)
def test_nothing_of_another_role_is_in_an_image(name: str, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits and regions of photos of other roles may be painted over without changing the split."""
    images, labels = read_digits()
    is_of_role = np.isin(np.arange(len(images)), RANGES[role])
    painted = paint_over_other_roles(role)
    expected = load(name)[role].fingerprint
    monkeypatch.setattr(detection, "read_photos", lambda: painted)
    monkeypatch.setattr(detection, "read_digits", lambda: (np.where(is_of_role[:, None, None], images, 255), labels))
    assert loading.load(name)[role].fingerprint == expected


def test_the_two_datasets_share_no_test_image() -> None:
    """The test images of the two datasets are made in the same way, but none is in both."""
    splits = [load(name)["test"] for name in PINNED]
    one, other = ({split.image(i).tobytes() for i in range(len(split))} for split in splits)
    assert not one & other


@pytest.mark.parametrize(("name", "role"), SPLITS)
def test_painted_pixels_are_annotated_pixels(name: str, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects change an image inside their masks, and outside only by the soft rim of a digit."""
    whole = load(name)[role]
    monkeypatch.setattr(ComposedImage, "add", lambda self, label, paint, rng: None)
    bare = loading.load(name)[role]
    inside, pieces, rims = [], 0, []
    for index, objects in enumerate(objects_of(whole)):
        changed = np.abs(np.asarray(whole.image(index), int) - np.asarray(bare.image(index), int)).max(axis=2)
        mask = decode_masks(objects).any(axis=0)
        inside += changed[mask].tolist()
        if objects.labels.all():
            pieces += 1
            assert not changed[~mask].any()
        else:
            rims.append((changed[~mask] > 0).sum() / mask.sum())
    assert np.mean(np.array(inside) > 8) > 0.95
    assert np.mean(inside) > 60
    assert (pieces > 10) == (name == "photo-scenes")
    assert np.mean(rims) < 0.4


@pytest.mark.parametrize("name", PINNED)
def test_digits_are_visible(name: str) -> None:
    """Each digit differs from its surroundings by more than 24 levels in some channel."""
    for split in load(name).splits.values():
        for index, objects in enumerate(objects_of(split)):
            image, masks = np.asarray(split.image(index), int), decode_masks(objects)
            for mask in masks[objects.labels == 0]:
                rows, columns = np.nonzero(mask)
                box = np.s_[max(rows.min() - 2, 0) : rows.max() + 3, max(columns.min() - 2, 0) : columns.max() + 3]
                around = image[box][~mask[box]]
                assert np.abs(image[mask].mean(axis=0) - around.mean(axis=0)).max() > 24


def square(side: int, colour: int = 255) -> Paint:
    """Return a function that paints a square of `side` px at the top left of a box."""

    def paint(image: Image.Image, box: Box, rng: np.random.Generator) -> Image.Image:
        opacity = Image.new("L", (box[2] - box[0], box[3] - box[1]))
        opacity.paste(255, (0, 0, side, side))
        image.paste((colour,) * 3, box, opacity)
        return opacity

    return paint


def compose(monkeypatch: pytest.MonkeyPatch, *placed: tuple[int, int, int]) -> ComposedImage:
    """Return 40 x 30 black pixels with squares of 10 px, given as (label, left, top); the n-th square has colour n."""
    composed = ComposedImage(Image.new("RGB", (40, 30)))
    for number, (label, left, top) in enumerate(placed, 1):
        monkeypatch.setattr(detection, "random_square", lambda rng, size, at=(left, top): (*at, at[0] + 10, at[1] + 10))
        composed.add(label, square(10, number), generator("a test"))
    return composed


def test_a_later_object_hides_an_earlier_ones_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second object covers 6 of the 10 columns of the first, as box, area, mask and image show."""
    composed = compose(monkeypatch, (1, 5, 5), (2, 9, 5))
    objects = composed.objects
    assert objects.boxes.tolist() == [[5, 5, 4, 10], [9, 5, 10, 10]]
    assert objects.areas.tolist() == [40, 100]
    assert objects.labels.tolist() == [1, 2]
    assert (objects.width, objects.height) == (40, 30)
    drawn = np.asarray(composed.image)[..., 0]
    for number, mask in enumerate(decode_masks(objects), 1):
        np.testing.assert_array_equal(drawn == number, mask)
    assert composed.example("a", "b", 4).target == (0, 1, 1, 0)


@pytest.mark.parametrize(
    ("placed", "kept"),
    [
        ([(1, 5, 5), (2, 8, 5)], 1),  # 3 of 10 columns would remain visible, less than a third
        ([(1, 5, 5), (2, 9, 5)], 2),
        ([(1, 5, 5), (2, 9, 5), (3, 2, 5)], 2),  # the second and third together would hide the first
        ([(1, 5, 5), (1, 12, 5)], 1),  # 3 of 10 columns would cover the same class, more than a quarter
        ([(1, 5, 5), (1, 13, 5)], 2),
        ([(1, 5, 5), (2, 5, 5), (1, 20, 5)], 2),
    ],
)
def test_an_object_that_hides_too_much_is_left_out(
    placed: list[tuple[int, int, int]], kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object that hides too much is neither painted nor annotated."""
    composed = compose(monkeypatch, *placed)
    assert len(composed.objects) == len(composed.labels) == kept
    drawn = np.asarray(composed.image)[..., 0]
    np.testing.assert_array_equal(drawn > 0, decode_masks(composed.objects).any(axis=0))
    assert len(np.unique(drawn)) == kept + 1


def test_a_half_opaque_pixel_belongs_to_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels with an opacity of 128 of 255 or more belong to the object, and others to the background."""
    monkeypatch.setattr(detection, "random_square", lambda rng, size: (1, 1, 4, 2))
    composed = ComposedImage(Image.new("RGB", (6, 4)))
    composed.add(0, lambda image, box, rng: Image.fromarray(np.array([[127, 128, 255]], np.uint8)), generator("a test"))
    assert composed.objects.boxes.tolist() == [[2, 1, 2, 1]]


@pytest.mark.parametrize("outline", detection.OUTLINES)
def test_outlines_fill_about_half_of_their_square(outline: detection.Paint) -> None:
    """Outlines of 16 to 72 px are opaque or transparent, cover 20% to 97% of the square, and vary."""
    for side in (16, 40, 72):
        drawn = [np.asarray(outline(side, generator("a test", side, i))) for i in range(40)]
        shares = [(opacity == 255).mean() for opacity in drawn]
        assert {opacity.shape for opacity in drawn} == {(side, side)}
        assert set(np.unique(drawn)) == {0, 255}
        assert min(shares) > 0.2
        assert max(shares) < 0.97
        assert 0.35 < np.mean(shares) < 0.75
        assert len({opacity.tobytes() for opacity in drawn}) > 20


def test_pieces_come_from_the_middle_of_a_photo() -> None:
    """No piece of the retina is dark, since the black parts at its top and bottom are not used."""
    whole = load("photo-scenes")
    retina = whole.classes.index("retina")
    for split in whole.splits.values():
        for index, objects in enumerate(objects_of(split)):
            image, masks = np.asarray(split.image(index), int), decode_masks(objects)
            for mask in masks[objects.labels == retina]:
                assert image[mask].mean(axis=0)[0] > 120


BASE = ImageObjects(
    4, 4, np.array([[0, 0, 2.0, 2]]), np.array([0]), np.array([4.0]), np.array([False]), ({"size": [4, 4]},)
)


@pytest.mark.parametrize(
    "other",
    [
        replace(BASE, boxes=np.array([[0, 0, 2.0, 3]])),
        replace(BASE, labels=np.array([1])),
        replace(BASE, areas=np.array([5.0])),
        replace(BASE, crowd=np.array([True])),
        replace(BASE, masks=()),
    ],
    ids=["box", "label", "area", "crowd", "mask"],
)
def test_a_fingerprint_covers_every_object(other: ImageObjects) -> None:
    """A change of any field of an object changes the fingerprint."""
    one, changed = (Example("a", (1,), "photo", Image.new("RGB", (4, 4)), objects) for objects in (BASE, other))
    assert build_split("train", [one]).fingerprint != build_split("train", [changed]).fingerprint
    assert build_split("train", [one]).objects == (BASE,)
    assert build_split("train", [replace(one, objects=None)]).objects is None

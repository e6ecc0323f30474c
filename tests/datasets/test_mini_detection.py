"""Scenes with objects: boxes and masks are of what is visible, and nothing is in two roles."""

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
from bob_gauntlet.datasets.mini.classification import role_region
from bob_gauntlet.datasets.mini.detection import ComposedImage, Paint
from bob_gauntlet.datasets.mini.sources import read_digits, read_photos
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.datasets.rle import decode_mask

load = cache(loading.load)
"""Made once for all tests that do not change how."""

# What this code made on 2026-11-23 (Pillow 13.0, NumPy 2.2, matplotlib 3.11's fonts). A value that changes here means
# that stored scores are no longer comparable: see test_mini.py.
PINNED = {
    "photo-scenes": {"train": "2911f9cb599c6708", "val": "b9957a469f847b94", "test": "8a60be393fc99ce4"},
    "fonts-scenes": {"train": "ee2c6d47f29a88f6", "val": "08fdae6f42a731ef", "test": "a1bffbff33fad141"},
}
SPLITS = [(name, role) for name, roles in PINNED.items() for role in roles]
ON_PHOTOS = [("photo-scenes", "train"), ("photo-scenes", "val"), ("photo-scenes", "test"), ("fonts-scenes", "test")]
BEHIND = sorted(set(read_photos()) - {"brick", "chelsea", "coins", "ihc", "retina"})

# the ranges of `digits` (test_mini.py): no digit is in two roles
RANGES = {"train": range(1000), "val": range(1000, 1300), "test": range(1300, 1797)}


def annotated(found: Split) -> tuple[ImageObjects, ...]:
    """The objects of each image."""
    assert found.objects is not None
    assert len(found.objects) == len(found)
    return found.objects


def covered(objects: ImageObjects) -> np.ndarray:
    """(n, height, width) bool masks."""
    shape = (len(objects), objects.height, objects.width)
    return np.array([decode_mask(mask) for mask in objects.masks], bool).reshape(shape)


@pytest.mark.parametrize("name", PINNED)
def test_fingerprints_are_pinned(name: str) -> None:
    """Ids, objects, clusters and every pixel are those that scores were measured on; a second load gives the same."""
    assert loading.load(name).fingerprints == load(name).fingerprints == PINNED[name]


@pytest.mark.parametrize(("name", "classes"), [("photo-scenes", 6), ("fonts-scenes", 1)])
def test_sizes_are_those_of_the_catalog(name: str, classes: int) -> None:
    """Targets say which classes are annotated; every class is about as often as any other."""
    dataset, spec = load(name), CATALOG[name]
    assert spec.size == ", ".join(f"{len(found):,} {role}" for role, found in dataset.splits.items())
    assert spec.classes == str(len(dataset.classes)) == str(classes)
    assert dataset.classes[0] == "digit"
    assert spec.trains_on == ""
    for found in dataset.splits.values():
        assert found.targets.shape == (len(found), classes)
        assert found.targets.dtype == np.uint8
        for target, objects in zip(found.targets, annotated(found), strict=True):
            assert np.flatnonzero(target).tolist() == sorted(set(objects.labels.tolist()))
        counts = np.bincount(np.concatenate([objects.labels for objects in annotated(found)]), minlength=classes)
        assert counts.min() > 0.6 * counts.mean()
        assert counts.sum() > 2 * len(found)


@pytest.mark.parametrize(("name", "role"), SPLITS)
def test_masks_are_exact(name: str, role: str) -> None:
    """A box is the bounds of its mask, an area its pixels; no pixel belongs to two; all can be learnt."""
    for objects in annotated(load(name)[role]):
        assert len(objects) == len(objects.boxes) == len(objects.masks) == len(objects.areas) <= 5
        assert objects.boxes.shape == (len(objects), 4)
        assert objects.learnable.all()
        assert not objects.crowd.any()
        masks = covered(objects)
        assert masks.sum(axis=0).max(initial=0) <= 1
        for mask, (left, top, width, height), area in zip(masks, objects.boxes, objects.areas, strict=True):
            rows, columns = np.nonzero(mask)
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
            assert area == mask.sum() >= 12


@pytest.mark.parametrize(("name", "role"), SPLITS)
def test_scenes_are_of_all_sizes(name: str, role: str) -> None:
    """96, 128 or 160 px wide and high; objects of a few to over 40 px; as many objects as 1 to 5; no two alike."""
    found = load(name)[role]
    sizes = [(objects.width, objects.height) for objects in annotated(found)]
    images = [found.image(i) for i in range(len(found))]
    assert sizes == [image.size for image in images]
    assert {image.mode for image in images} == {"RGB"}
    assert set(sizes) == {(width, height) for width in (96, 128, 160) for height in (96, 128, 160)}
    sides = np.concatenate([objects.boxes[:, 2:].max(axis=1) for objects in annotated(found)])
    assert sides.min() >= 6
    assert sides.max() <= 72
    assert 0.2 < (sides < 24).mean() < 0.5
    assert 0.2 < (sides > 40).mean() < 0.5
    assert {1, 2, 3, 4, 5} <= {len(objects) for objects in annotated(found)}
    assert len({image.tobytes() for image in images}) == len(set(found.ids)) == len(found)


@pytest.mark.parametrize(("name", "role"), SPLITS)
def test_a_few_photos_have_no_object(name: str, role: str) -> None:
    """One in thirty; drawn scenes have some, all."""
    empty = [len(objects) == 0 for objects in annotated(load(name)[role])]
    assert sum(empty) == (len(empty) // 30 if (name, role) in ON_PHOTOS else 0)


@pytest.mark.parametrize(("name", "role"), ON_PHOTOS)
def test_every_background_has_its_share_of_scenes(name: str, role: str) -> None:
    """A scene's cluster is its photo, none of which pieces are cut from."""
    counts = Counter(load(name)[role].clusters)
    assert sorted(counts) == BEHIND
    assert max(counts.values()) - min(counts.values()) <= 1


def test_drawn_scenes_are_of_every_font() -> None:
    """Their clusters; each on one colour."""
    for role in ("train", "val"):
        found = load("fonts-scenes")[role]
        assert set(found.clusters) <= {file.stem for file in fonts.typefaces()}
        for index in range(len(found)):
            colours = found.image(index).getcolors(160 * 160)
            assert max(count for count, _ in colours) > 0.4 * np.prod(found.image(index).size)
    assert len(set(load("fonts-scenes")["train"].clusters)) == 21


@pytest.mark.parametrize("role", RANGES)
@pytest.mark.parametrize("name", PINNED)
def test_nothing_of_another_role_is_in_a_scene(name: str, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all other digits and parts of photos painted over, everything is the same."""

    def painted(photo: Image.Image) -> Image.Image:
        box = role_region(photo.size, role)
        alone = Image.new("RGB", photo.size, (255, 0, 255))
        alone.paste(photo.crop(box), box)
        return alone

    images, labels = read_digits()
    own = np.isin(np.arange(len(images)), RANGES[role])
    only = {key: painted(photo) for key, photo in read_photos().items()}
    wanted = load(name)[role].fingerprint
    monkeypatch.setattr(detection, "read_photos", lambda: only)
    monkeypatch.setattr(detection, "read_digits", lambda: (np.where(own[:, None, None], images, 255), labels))
    assert loading.load(name)[role].fingerprint == wanted


def test_fonts_scenes_are_scenes_of_their_own() -> None:
    """Made as those of photo-scenes are, and no image of the one is in the other."""
    drawn = [load(name)["test"] for name in PINNED]
    one, other = ({found.image(i).tobytes() for i in range(len(found))} for found in drawn)
    assert not one & other


@pytest.mark.parametrize(("name", "role"), SPLITS)
def test_what_is_painted_is_what_is_annotated(name: str, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the same scene without objects: changed where a mask is; elsewhere not, but by the rim of an ink."""
    whole = load(name)[role]
    monkeypatch.setattr(ComposedImage, "add", lambda self, label, paint, rng: None)
    bare = loading.load(name)[role]
    inside, pieces, rims = [], 0, []
    for index, objects in enumerate(annotated(whole)):
        changed = np.abs(np.asarray(whole.image(index), int) - np.asarray(bare.image(index), int)).max(axis=2)
        mask = covered(objects).any(axis=0)
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
def test_digits_are_seen(name: str) -> None:
    """Each has at least 24 levels of contrast, in one channel at least, with what is around it."""
    for found in load(name).splits.values():
        for index, objects in enumerate(annotated(found)):
            image, masks = np.asarray(found.image(index), int), covered(objects)
            for mask in masks[objects.labels == 0]:
                rows, columns = np.nonzero(mask)
                box = np.s_[max(rows.min() - 2, 0) : rows.max() + 3, max(columns.min() - 2, 0) : columns.max() + 3]
                around = image[box][~mask[box]]
                assert np.abs(image[mask].mean(axis=0) - around.mean(axis=0)).max() > 24


def square(side: int, colour: int = 255) -> Paint:
    """Fills the whole of a box, whatever its size, with `side` px at its top left."""

    def paint(image: Image.Image, box: Box, rng: np.random.Generator) -> Image.Image:
        opacity = Image.new("L", (box[2] - box[0], box[3] - box[1]))
        opacity.paste(255, (0, 0, side, side))
        image.paste((colour,) * 3, box, opacity)
        return opacity

    return paint


def scene(monkeypatch: pytest.MonkeyPatch, *placed: tuple[int, int, int]) -> ComposedImage:
    """Squares of 10 px, each (label, left, top), added in turn on 40 x 30 px of black; the n-th is of colour n."""
    found = ComposedImage(Image.new("RGB", (40, 30)))
    for number, (label, left, top) in enumerate(placed, 1):
        monkeypatch.setattr(detection, "random_square", lambda rng, size, at=(left, top): (*at, at[0] + 10, at[1] + 10))
        found.add(label, square(10, number), generator("a test"))
    return found


def test_a_later_object_hides_an_earlier_ones_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: the second covers the first's right 6 columns of 10; box, area and picture say so."""
    found = scene(monkeypatch, (1, 5, 5), (2, 9, 5))
    objects = found.objects
    assert objects.boxes.tolist() == [[5, 5, 4, 10], [9, 5, 10, 10]]
    assert objects.areas.tolist() == [40, 100]
    assert objects.labels.tolist() == [1, 2]
    assert (objects.width, objects.height) == (40, 30)
    drawn = np.asarray(found.image)[..., 0]
    for number, mask in enumerate(covered(objects), 1):
        np.testing.assert_array_equal(drawn == number, mask)
    assert found.example("a", "b", 4).target == (0, 1, 1, 0)


@pytest.mark.parametrize(
    ("placed", "kept"),
    [
        ([(1, 5, 5), (2, 8, 5)], 1),  # 3 of 10 columns would be left: less than a third
        ([(1, 5, 5), (2, 9, 5)], 2),
        ([(1, 5, 5), (2, 9, 5), (3, 2, 5)], 2),  # both together would hide all
        ([(1, 5, 5), (1, 12, 5)], 1),  # of one class, with 3 of 10 columns on the other: more than a quarter
        ([(1, 5, 5), (1, 13, 5)], 2),
        ([(1, 5, 5), (2, 5, 5), (1, 20, 5)], 2),
    ],
)
def test_an_object_that_hides_too_much_is_left_out(
    placed: list[tuple[int, int, int]], kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From picture and annotation alike."""
    found = scene(monkeypatch, *placed)
    assert len(found.objects) == len(found.labels) == kept
    drawn = np.asarray(found.image)[..., 0]
    np.testing.assert_array_equal(drawn > 0, covered(found.objects).any(axis=0))
    assert len(np.unique(drawn)) == kept + 1


def test_what_is_half_opaque_belongs_to_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """128 of 255 and more; below that a pixel is its ground's."""
    monkeypatch.setattr(detection, "random_square", lambda rng, size: (1, 1, 4, 2))
    found = ComposedImage(Image.new("RGB", (6, 4)))
    found.add(0, lambda image, box, rng: Image.fromarray(np.array([[127, 128, 255]], np.uint8)), generator("a test"))
    assert found.objects.boxes.tolist() == [[2, 1, 2, 1]]


@pytest.mark.parametrize("outline", detection.OUTLINES)
def test_outlines_fill_about_half_of_their_square(outline: detection.Paint) -> None:
    """Of 16 to 72 px: not all of it, nor next to nothing; no two draws alike; opaque or not."""
    for side in (16, 40, 72):
        drawn = [np.asarray(outline(side, generator("a test", side, i))) for i in range(40)]
        shares = [(found == 255).mean() for found in drawn]
        assert {found.shape for found in drawn} == {(side, side)}
        assert set(np.unique(drawn)) == {0, 255}
        assert min(shares) > 0.2
        assert max(shares) < 0.97
        assert 0.35 < np.mean(shares) < 0.75
        assert len({found.tobytes() for found in drawn}) > 20


def test_pieces_come_from_the_middle_of_a_photo() -> None:
    """None of the retina's black corners: no piece is dark."""
    whole = load("photo-scenes")
    retina = whole.classes.index("retina")
    for found in whole.splits.values():
        for index, objects in enumerate(annotated(found)):
            image, masks = np.asarray(found.image(index), int), covered(objects)
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
    """Whatever is said of one."""
    one, changed = (Example("a", (1,), "photo", Image.new("RGB", (4, 4)), objects) for objects in (BASE, other))
    assert build_split("train", [one]).fingerprint != build_split("train", [changed]).fingerprint
    assert build_split("train", [one]).objects == (BASE,)
    assert build_split("train", [replace(one, objects=None)]).objects is None

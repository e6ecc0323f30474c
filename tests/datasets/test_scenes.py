"""Tests of `digit-scenes`: labels are the drawn digits, and roles share neither digits nor regions of photos."""

from collections import Counter
from functools import cache

import numpy as np
import pytest
from PIL import Image

from bob_gauntlet.datasets import loading
from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.datasets.loading import limit_dataset
from bob_gauntlet.datasets.mini import scenes
from bob_gauntlet.datasets.mini.build import Example, build_split, generator
from bob_gauntlet.datasets.mini.scenes import SIDE, draw_in_quarter
from bob_gauntlet.datasets.mini.sources import read_digits, read_photos
from tests.helpers.mini_photos import paint_over_other_roles

load = cache(loading.load)
"""Load a dataset once for all tests that do not patch how it is made."""

# the ranges of `digits` (see test_mini.py), which do not overlap
RANGES = {"train": range(1000), "val": range(1000, 1300), "test": range(1300, 1797)}


def test_sizes_are_those_of_the_catalog() -> None:
    """There are 400, 100 and 300 different images of 96 px, each with ten labels."""
    dataset, spec = load("digit-scenes"), CATALOG["digit-scenes"]
    assert spec.size == ", ".join(f"{len(split):,} {role}" for role, split in dataset.splits.items())
    assert spec.classes == str(len(dataset.classes)) == "10"
    assert dataset.multi_label
    for split in dataset.splits.values():
        assert split.targets.shape == (len(split), 10)
        assert split.targets.dtype == np.int64
        assert {(i.mode, i.size) for i in map(split.image, range(len(split)))} == {("RGB", (96, 96))}
        assert len({split.image(i).tobytes() for i in range(len(split))}) == len(set(split.ids)) == len(split)


@pytest.mark.parametrize("role", RANGES)
def test_every_label_has_both_values(role: str) -> None:
    """An image has 1 to 4 labels, and each label is set on about 23% of the images (2.5 draws of ten digits)."""
    targets = load("digit-scenes")[role].targets
    assert set(np.unique(targets)) == {0, 1}
    assert set(targets.sum(axis=1)) == {1, 2, 3, 4}
    share = targets.mean(axis=0)
    assert share.min() > 0.15
    assert share.max() < 0.30


def test_every_photo_has_its_share_of_scenes() -> None:
    """The cluster of an image is its photo, and photos have equally many images, up to one."""
    for split in load("digit-scenes").splits.values():
        counts = Counter(split.clusters)
        assert set(counts) == set(read_photos())
        assert max(counts.values()) - min(counts.values()) <= 1


def test_labels_are_the_digits_that_were_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn digits are of the role's range, each in its own quarter, and 1 to 4 digits are about equally likely."""
    images, labels = read_digits()
    index_of = {image.tobytes(): index for index, image in enumerate(images)}
    assert len(index_of) == len(images)
    drawn: list[tuple[int, int]] = []
    monkeypatch.setattr(
        scenes, "draw_in_quarter", lambda scene, digit, quarter, rng: drawn.append((index_of[digit.tobytes()], quarter))
    )
    counts = Counter[int]()
    for role, role_range in RANGES.items():
        for index in range(scenes.COUNTS[role]):
            drawn.clear()
            example = scenes._example(role, index)
            chosen, quarters = zip(*drawn, strict=True)
            assert set(chosen) <= set(role_range)
            assert len(set(quarters)) == len(quarters)
            assert set(quarters) <= {0, 1, 2, 3}
            assert np.flatnonzero(example.target).tolist() == sorted(set(labels[list(chosen)].tolist()))
            counts[len(chosen)] += 1
    assert set(counts) == {1, 2, 3, 4}
    assert min(counts.values()) > 150


@pytest.mark.parametrize("role", RANGES)
def test_no_pixel_of_another_role_is_in_an_image(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos whose other regions are painted over give the same images."""
    painted = paint_over_other_roles(role)
    assert all(painted[name].tobytes() != photo.tobytes() for name, photo in read_photos().items())
    expected = load("digit-scenes")[role].fingerprint
    monkeypatch.setattr(scenes, "read_photos", lambda: painted)
    assert build_split(role, [scenes._example(role, i) for i in range(scenes.COUNTS[role])]).fingerprint == expected


@pytest.mark.parametrize("grey", [0, 100, 156, 255])
def test_a_digit_is_drawn_in_one_quarter_in_a_visible_colour(grey: int) -> None:
    """Digits are light on dark and dark on light, square, and use the whole range of sides from 24 to 36 px."""
    digit, rng, sides = read_digits()[0][0], generator("a test"), []
    for draw in range(100):
        scene = Image.new("RGB", (SIDE, SIDE), (grey,) * 3)
        draw_in_quarter(scene, np.full_like(digit, 255), draw % 4, rng)
        changed = np.abs(np.asarray(scene, int) - grey).min(axis=2)
        rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
        assert (rows[0] // 48, columns[0] // 48) == (rows[-1] // 48, columns[-1] // 48) == divmod(draw % 4, 2)
        assert len(rows) == len(columns)
        assert changed.max() >= 90
        sides.append(len(rows))
    assert (min(sides), max(sides)) == (24, 36)


def test_a_drawn_digit_has_its_shape() -> None:
    """A digit that is drawn on black and reduced to 8 x 8 pixels is most similar to the original digit."""
    images = read_digits()[0][:50].astype(float)
    for index in range(0, 50, 5):
        scene = Image.new("RGB", (SIDE, SIDE))
        draw_in_quarter(scene, read_digits()[0][index], index % 4, generator("a test", index))
        black = Image.new("RGB", (SIDE, SIDE))
        # a full square that is drawn with the same random numbers shows where the digit is
        draw_in_quarter(black, np.full((8, 8), 255, np.uint8), index % 4, generator("a test", index))
        box = black.getbbox()
        small = np.asarray(scene.convert("L").crop(box).resize((8, 8), Image.Resampling.BOX), float).ravel()
        similarity = np.corrcoef(small, images.reshape(50, 64))[0, 1:]
        assert similarity.argmax() == index
        assert similarity[index] > 0.95


def test_a_fingerprint_covers_every_label() -> None:
    """A change of one label of one image changes the fingerprint."""
    one, other = (Example("a", target, "photo", Image.new("RGB", (2, 2))) for target in ((0, 1), (1, 1)))
    assert build_split("train", [one]).fingerprint != build_split("train", [other]).fingerprint
    assert build_split("train", [one, other]).targets.tolist() == [[0, 1], [1, 1]]


def test_a_limit_keeps_the_first() -> None:
    """The first images are kept, whatever their labels are."""
    whole, cut = load("digit-scenes"), limit_dataset(load("digit-scenes"), 30)
    for role, split in cut.splits.items():
        assert split.ids == whole[role].ids[:30]
        np.testing.assert_array_equal(split.targets, whole[role].targets[:30])

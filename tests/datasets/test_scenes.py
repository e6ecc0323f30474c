"""Digit scenes: labels are the digits that were drawn, every role has its own digits and parts of photos."""

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
from bob_gauntlet.datasets.mini.classification import role_region
from bob_gauntlet.datasets.mini.scenes import SIDE, draw_in_quarter
from bob_gauntlet.datasets.mini.sources import read_digits, read_photos

load = cache(loading.load)
"""Made once for all tests that do not change how."""

# the ranges of `digits` (test_mini.py): no digit is in two roles
RANGES = {"train": range(1000), "val": range(1000, 1300), "test": range(1300, 1797)}


def test_sizes_are_those_of_the_catalog() -> None:
    """400 + 100 + 300 images of 96 px with ten labels each."""
    dataset, spec = load("digit-scenes"), CATALOG["digit-scenes"]
    assert spec.size == ", ".join(f"{len(found):,} {role}" for role, found in dataset.splits.items())
    assert spec.classes == str(len(dataset.classes)) == "10"
    assert dataset.multi_label
    for found in dataset.splits.values():
        assert found.targets.shape == (len(found), 10)
        assert found.targets.dtype == np.int64
        assert {(i.mode, i.size) for i in map(found.image, range(len(found)))} == {("RGB", (96, 96))}
        assert len({found.image(i).tobytes() for i in range(len(found))}) == len(set(found.ids)) == len(found)


@pytest.mark.parametrize("role", RANGES)
def test_every_label_has_both_values(role: str) -> None:
    """1 to 4 labels an image, each about as often as not to be missed: 2.5 draws of ten digits are 23%."""
    targets = load("digit-scenes")[role].targets
    assert set(np.unique(targets)) == {0, 1}
    assert set(targets.sum(axis=1)) == {1, 2, 3, 4}
    share = targets.mean(axis=0)
    assert share.min() > 0.15
    assert share.max() < 0.30


def test_every_photo_has_its_share_of_scenes() -> None:
    """A scene's cluster is its photo; of 21 photos none has two scenes more than another."""
    for found in load("digit-scenes").splits.values():
        counts = Counter(found.clusters)
        assert set(counts) == set(read_photos())
        assert max(counts.values()) - min(counts.values()) <= 1


def test_labels_are_the_digits_that_were_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is one of scikit-learn's, of its role's range, in a quarter of its own; 1 to 4 are equally likely."""
    images, labels = read_digits()
    at = {image.tobytes(): index for index, image in enumerate(images)}
    assert len(at) == len(images)
    drawn: list[tuple[int, int]] = []
    monkeypatch.setattr(
        scenes, "draw_in_quarter", lambda scene, digit, quarter, rng: drawn.append((at[digit.tobytes()], quarter))
    )
    counts = Counter[int]()
    for role, wanted in RANGES.items():
        for index in range(scenes.COUNTS[role]):
            drawn.clear()
            example = scenes._example(role, index)
            chosen, quarters = zip(*drawn, strict=True)
            assert set(chosen) <= set(wanted)
            assert len(set(quarters)) == len(quarters)
            assert set(quarters) <= {0, 1, 2, 3}
            assert np.flatnonzero(example.target).tolist() == sorted(set(labels[list(chosen)].tolist()))
            counts[len(chosen)] += 1
    assert set(counts) == {1, 2, 3, 4}
    assert min(counts.values()) > 150


@pytest.mark.parametrize("role", RANGES)
def test_no_pixel_of_another_roles_part_is_in_a_scene(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything outside their part painted over, photos give the same scenes."""

    def painted(photo: Image.Image) -> Image.Image:
        box = role_region(photo.size, role)
        alone = Image.new("RGB", photo.size, (255, 0, 255))
        alone.paste(photo.crop(box), box)
        return alone

    only = {key: painted(photo) for key, photo in read_photos().items()}
    assert all(only[key].tobytes() != photo.tobytes() for key, photo in read_photos().items())
    whole = load("digit-scenes")[role].fingerprint
    monkeypatch.setattr(scenes, "read_photos", lambda: only)
    assert build_split(role, [scenes._example(role, i) for i in range(scenes.COUNTS[role])]).fingerprint == whole


@pytest.mark.parametrize("grey", [0, 100, 156, 255])
def test_a_digit_is_drawn_in_one_quarter_in_a_colour_that_is_seen(grey: int) -> None:
    """Light on dark ground, dark on light, 24 to 36 px a side, and the shape of the digit: all of the range is used."""
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
    """Brought back to 8 x 8 pixels, what was added to a black scene is the digit, and no other is as like it."""
    images = read_digits()[0][:50].astype(float)
    for index in range(0, 50, 5):
        scene = Image.new("RGB", (SIDE, SIDE))
        draw_in_quarter(scene, read_digits()[0][index], index % 4, generator("a test", index))
        black = Image.new("RGB", (SIDE, SIDE))
        # the same draws with a digit of full strokes say where it lies
        draw_in_quarter(black, np.full((8, 8), 255, np.uint8), index % 4, generator("a test", index))
        box = black.getbbox()
        small = np.asarray(scene.convert("L").crop(box).resize((8, 8), Image.Resampling.BOX), float).ravel()
        likeness = np.corrcoef(small, images.reshape(50, 64))[0, 1:]
        assert likeness.argmax() == index
        assert likeness[index] > 0.95


def test_a_fingerprint_covers_every_label() -> None:
    """One label of one image is enough."""
    one, other = (Example("a", target, "photo", Image.new("RGB", (2, 2))) for target in ((0, 1), (1, 1)))
    assert build_split("train", [one]).fingerprint != build_split("train", [other]).fingerprint
    assert build_split("train", [one, other]).targets.tolist() == [[0, 1], [1, 1]]


def test_a_limit_keeps_the_first() -> None:
    """Whatever their labels."""
    whole, cut = load("digit-scenes"), limit_dataset(load("digit-scenes"), 30)
    for role, found in cut.splits.items():
        assert found.ids == whole[role].ids[:30]
        np.testing.assert_array_equal(found.targets, whole[role].targets[:30])

"""Tests of the shifted datasets: they train on `photos`, and their test images are the same on every machine."""

import os
import subprocess
import sys
from collections import Counter
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy.optimize import linear_sum_assignment

from bob_gauntlet.datasets import loading
from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.loading import limit_dataset
from bob_gauntlet.datasets.mini import fonts, shifts
from bob_gauntlet.datasets.mini.build import generator
from bob_gauntlet.datasets.mini.shifts import (
    OVERSAMPLING,
    SIDE,
    brush_strokes,
    draw_sketch,
    hue_rotation,
    random_corners,
    warp,
)
from bob_gauntlet.datasets.mini.sources import read_photos
from bob_gauntlet.errors import MissingError
from tests.helpers.mini_photos import paint_over_other_roles

# Made by this code on 2026-11-23 (Pillow 13.0, NumPy 2.4, the fonts of matplotlib 3.11). Where a value changes, stored
# scores are no longer comparable: see test_mini.py. "test" of fonts-digits is that of `digits` there.
SHIFTED = {
    "photos-sketch": "e6b6734091100996",
    "photos-rendition": "f059a309d0eaf115",
    "photos-recollected": "6322b533d548d9d5",
    "photos-hard": "b5c3984fd9984e83",
}
FONTS = {
    "train": "86a7ea85cbadce44",
    "val": "0a192ba82c727072",
    "source": "ba7b9568f50b7941",
    "test": "f0e4042d8367bc5a",
}


load = cache(loading.load)
"""Load a dataset once for all tests that do not patch how it is made."""


@pytest.mark.parametrize("name", SHIFTED)
def test_only_the_test_split_is_new(name: str) -> None:
    """Train, val and source have the fingerprints of `photos`, so that stored features and heads are reused."""
    photos = load("photos").fingerprints
    expected = {"train": photos["train"], "val": photos["val"], "source": photos["test"], "test": SHIFTED[name]}
    assert load(name).fingerprints == expected
    assert load(name).classes == load("photos").classes


@pytest.mark.parametrize("name", SHIFTED)
def test_a_limit_keeps_the_splits_equal(name: str) -> None:
    """Limited splits are equal to the limited splits of `photos`."""
    photos, shifted = (limit_dataset(load(n), 30).fingerprints for n in ("photos", name))
    assert (shifted["train"], shifted["val"], shifted["source"]) == (photos["train"], photos["val"], photos["test"])


def test_fonts_digits_is_pinned() -> None:
    """The drawn digits have pinned fingerprints, and the test split is that of `digits`."""
    assert load("fonts-digits").fingerprints == FONTS
    assert load("digits").fingerprints["test"] == FONTS["test"]
    assert load("fonts-digits").classes == load("digits").classes


def test_another_process_gives_the_same() -> None:
    """Fingerprints do not depend on Python's hash seed or on the current folder."""
    code = (
        "from bob_gauntlet.datasets.loading import load\n"
        f"for f in [load(n).fingerprints for n in {(*SHIFTED, 'fonts-digits')}]: print(f['test'], f['train'])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/", env=environment
    )
    train = load("photos").fingerprints["train"]
    expected = [*(f"{value} {train}" for value in SHIFTED.values()), f"{FONTS['test']} {FONTS['train']}"]
    assert process.stdout.splitlines() == expected


def difference(one: Split, other: Split) -> float:
    """Return the mean absolute difference of the pixels of two splits, in grey levels."""
    pairs = [(np.asarray(one.image(i), int), np.asarray(other.image(i), int)) for i in range(len(one))]
    return float(np.mean([np.abs(a - b).mean() for a, b in pairs]))


@pytest.mark.parametrize("name", SHIFTED)
def test_every_shifted_image_has_its_class(name: str) -> None:
    """Each photo has 20 images with the classes, clusters and size of source, but with other pixels."""
    dataset = load(name)
    source, test = dataset["source"], dataset["test"]
    assert set(Counter(test.targets.tolist()).values()) == {20}
    assert test.targets.tolist() == source.targets.tolist()
    assert test.clusters == source.clusters == tuple(dataset.classes[target] for target in test.targets)
    assert {(i.mode, i.size) for i in map(test.image, range(len(test)))} == {("RGB", (128, 128))}
    assert difference(source, test) > 15
    assert (test.ids == source.ids) == (name in ("photos-sketch", "photos-rendition"))
    assert len({test.image(i).tobytes() for i in range(len(test))}) == len(test)


@pytest.mark.parametrize("name", SHIFTED)
def test_no_pixel_of_the_training_regions_is_in_a_shifted_image(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos whose regions of train and val are painted over give the same shifted images."""
    painted = paint_over_other_roles("test")
    assert all(painted[key].tobytes() != photo.tobytes() for key, photo in read_photos().items())
    expected = load(name)["test"].fingerprint
    monkeypatch.setattr(shifts, "read_photos", lambda: painted)
    assert loading.load(name)["test"].fingerprint == expected


@pytest.mark.parametrize("name", [*SHIFTED, "fonts-digits"])
def test_sizes_are_those_of_the_catalog(name: str) -> None:
    """Sizes, classes and source are those of the catalog."""
    dataset, spec = load(name), CATALOG[name]
    assert spec.size == ", ".join(f"{len(split):,} {role}" for role, split in dataset.splits.items())
    assert spec.classes == str(len(dataset.classes))
    assert spec.source == ("digits" if name == "fonts-digits" else "photos")


def two_halves(left: int, right: int) -> Image.Image:
    """Return an image of 32 x 32 pixels with two grey halves."""
    image = Image.new("RGB", (32, 32), (left,) * 3)
    image.paste((right,) * 3, (16, 0, 32, 32))
    return image


def test_a_sketch_shows_only_edges() -> None:
    """A sketch is black where brightness changes, in either direction, white elsewhere, and without colour."""
    drawn = np.asarray(draw_sketch(two_halves(40, 200)))
    assert drawn[:, 15:17].max() == 0
    assert drawn[:, :12].min() == drawn[:, 20:].min() == 255
    np.testing.assert_array_equal(drawn, np.asarray(draw_sketch(two_halves(200, 40))))
    assert np.ptp(drawn, axis=2).max() == 0
    np.testing.assert_array_equal(
        np.asarray(draw_sketch(two_halves(40, 200).rotate(90))), np.asarray(draw_sketch(two_halves(40, 200)).rotate(90))
    )


def test_a_rotated_hue() -> None:
    """120 degrees turn red into green, columns sum to about 256 so that grey stays, and 180 degrees undo themselves."""
    red = np.array([255, 0, 0])
    assert (red @ hue_rotation(120) // 256).tolist() == [0, 255, 0]
    assert (red @ hue_rotation(240) // 256).tolist() == [0, 0, 255]
    for degrees in range(0, 360, 15):
        assert np.abs(hue_rotation(degrees).sum(axis=0) - 256).max() <= 1
    np.testing.assert_allclose(hue_rotation(180) @ hue_rotation(180) / 256**2, np.eye(3), atol=0.01)


def test_strokes_lie_along_a_diagonal() -> None:
    """Strokes have a mean near 0, and neighbours are similar along one of the diagonals but not along the other."""
    slants = []
    for seed in range(8):
        strokes = brush_strokes(generator("a test", seed)).astype(float)
        assert strokes.shape == (SIDE, SIDE)
        assert abs(strokes.mean()) < 3
        down, up = (
            np.corrcoef(a.ravel(), b.ravel())[0, 1]
            for a, b in ((strokes[1:, 1:], strokes[:-1, :-1]), (strokes[1:, :-1], strokes[:-1, 1:]))
        )
        assert max(down, up) > 0.8
        assert min(down, up) < 0.2
        slants.append(down > up)
    assert len(set(slants)) == 2


def ramp(last: int) -> Image.Image:
    """Return an image whose red grows to the right, and whose green grows downwards."""
    steps = np.arange(last + 1) * 255 // last
    x, y = np.meshgrid(steps, steps)
    return Image.fromarray(np.stack([x, y, 0 * x], axis=2).astype(np.uint8))


def test_a_warp_puts_each_corner_where_it_belongs() -> None:
    """The corners of the square only shrink it, and those of a quadrilateral become the corners of the result."""
    last = OVERSAMPLING * SIDE - 1
    image = ramp(last)
    unwarped = warp(image, [(0, 0), (last, 0), (last, last), (0, last)])
    np.testing.assert_array_equal(np.asarray(unwarped), np.asarray(image.reduce(OVERSAMPLING)))
    corners = [(30, 60), (300, 10), (last, 350), (90, 200)]
    warped = np.asarray(warp(image, corners), int)
    for (x, y), (row, column) in zip(corners, ((0, 0), (0, -1), (-1, -1), (-1, 0)), strict=True):
        assert np.abs(warped[row, column] - [x * 255 // last, y * 255 // last, 0]).max() <= 2


def test_corners_move_inwards_by_up_to_a_quarter() -> None:
    """Corners stay inside the square, and the moves use the whole range up to a quarter."""
    last = OVERSAMPLING * SIDE - 1
    square = np.array([(0, 0), (last, 0), (last, last), (0, last)])
    moves = np.array([np.abs(np.array(random_corners(generator("a test", i))) - square) for i in range(200)])
    corners = np.array([random_corners(generator("a test", i)) for i in range(200)])
    assert corners.min() >= 0
    assert corners.max() <= last
    assert last // 4 - 5 <= moves.max() <= last // 4
    assert moves.min() <= 5


def test_hard_images_are_pale_and_partly_covered() -> None:
    """A patch of one colour covers 0.16 to 0.49 of an image, and the rest spans at most 70% of the levels (179)."""
    test = load("photos-hard")["test"]
    for i in range(0, len(test), 7):
        pixels = np.asarray(test.image(i)).reshape(-1, 3)
        ((colour, count),) = Counter(map(tuple, pixels.tolist())).most_common(1)
        rest = pixels[(pixels != colour).any(axis=1)]
        assert count >= 0.15 * len(pixels)
        assert np.ptp(rest, axis=0).max() <= 179


def test_drawn_digits_are_of_every_font_and_polarity() -> None:
    """Drawn digits are equally many per class, of 21 fonts, all different, and about half are dark on light."""
    train = load("fonts-digits")["train"]
    assert set(Counter(train.targets.tolist()).values()) == {100}
    assert set(train.clusters) == {file.stem for file in fonts.typefaces()}
    assert len(set(train.clusters)) == 21
    images = np.stack([np.asarray(train.image(i).convert("L"), int) for i in range(len(train))])
    corners = images[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean(axis=1)
    assert 0.4 < (corners > 128).mean() < 0.6
    assert {train.image(i).size for i in range(len(train))} == {(32, 32)}
    splits = [load("fonts-digits")[role] for role in ("train", "val", "source")]
    drawn = [split.image(i).tobytes() for split in splits for i in range(len(split))]
    assert len(set(drawn)) == len(drawn)


def test_a_drawn_digit_is_that_digit() -> None:
    """In the best pairing of the classes' mean images with the digits of Pillow's font, each class gets its digit."""
    train = load("fonts-digits")["train"]
    grey = np.stack([np.asarray(train.image(i).convert("L"), float) for i in range(len(train))])
    background = np.median(grey[:, [0, -1]], axis=(1, 2))[:, None, None]
    light = np.where(background > 128, 255 - grey, grey)
    means = np.stack([light[train.targets == digit].mean(axis=0).ravel() for digit in range(10)])
    references = np.stack([plain_digit(digit).ravel() for digit in range(10)])
    similarity = np.corrcoef(means - means.mean(axis=0), references - references.mean(axis=0))[:10, 10:]
    assert linear_sum_assignment(-similarity)[1].tolist() == list(range(10))


def plain_digit(digit: int) -> np.ndarray:
    """Return a (32, 32) image of the digit in Pillow's default font, upright in the middle, light on dark."""
    image = Image.new("L", (128, 128))
    font = ImageFont.load_default(150)
    ImageDraw.Draw(image).text((64, 64), str(digit), fill=255, font=font, anchor="mm", stroke_width=3)
    return np.asarray(image.reduce(16).resize((32, 32), Image.Resampling.BICUBIC), float)


@pytest.mark.parametrize("spec", [None, "without fonts"])
def test_missing_fonts_are_reported_with_what_to_install(spec: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """MissingError says what to install where matplotlib is missing, or is installed without its fonts."""

    class PackageSpec:
        submodule_search_locations = ("/nowhere",)

    monkeypatch.setattr(fonts, "find_spec", lambda name: PackageSpec() if spec else None)
    monkeypatch.setattr(fonts, "typefaces", fonts.typefaces.__wrapped__)
    with pytest.raises(MissingError, match=r'fonts inside matplotlib: pip install "bob-gauntlet\[mini\]"'):
        loading.load("fonts-digits")


def test_matplotlib_is_not_imported() -> None:
    """Loading the dataset does not import matplotlib, which would take longer than drawing all digits."""
    load_it = "from bob_gauntlet.datasets.loading import load; load('fonts-digits')"
    code = f"import sys; {load_it}; print('matplotlib' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "False"

"""The shifted datasets: their training data is that of `photos`, their test images are others, the same everywhere."""

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
from bob_gauntlet.datasets.mini.classification import role_region
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

# What this code made on 2026-11-23 (Pillow 13.0, NumPy 2.4, matplotlib 3.11's fonts). A value that changes here means
# that stored scores are no longer comparable: see test_mini.py. "test" of fonts-digits is that of `digits` there.
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
"""Each dataset is made once for all tests that do not change how."""


@pytest.mark.parametrize("name", SHIFTED)
def test_only_the_test_split_is_new(name: str) -> None:
    """Train, val and source have the fingerprints of `photos`: features and heads are found under them."""
    known = load("photos").fingerprints
    wanted = {"train": known["train"], "val": known["val"], "source": known["test"], "test": SHIFTED[name]}
    assert load(name).fingerprints == wanted
    assert load(name).classes == load("photos").classes


@pytest.mark.parametrize("name", SHIFTED)
def test_a_limit_leaves_them_equal(name: str) -> None:
    """Cut short, they are still those of `photos` cut short."""
    known, found = (limit_dataset(load(n), 30).fingerprints for n in ("photos", name))
    assert (found["train"], found["val"], found["source"]) == (known["train"], known["val"], known["test"])


def test_fonts_are_pinned() -> None:
    """Drawn digits, and the test split of `digits` under its own fingerprint."""
    assert load("fonts-digits").fingerprints == FONTS
    assert load("digits").fingerprints["test"] == FONTS["test"]
    assert load("fonts-digits").classes == load("digits").classes


def test_another_process_gives_the_same() -> None:
    """Neither Python's hash seed nor the folder it starts in matters."""
    code = (
        "from bob_gauntlet.datasets.loading import load\n"
        f"for f in [load(n).fingerprints for n in {(*SHIFTED, 'fonts-digits')}]: print(f['test'], f['train'])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/", env=environment
    )
    train = load("photos").fingerprints["train"]
    wanted = [*(f"{value} {train}" for value in SHIFTED.values()), f"{FONTS['test']} {FONTS['train']}"]
    assert found.stdout.splitlines() == wanted


def difference(one: Split, other: Split) -> float:
    """The mean over examples of how far pixels are apart, in grey levels."""
    pairs = [(np.asarray(one.image(i), int), np.asarray(other.image(i), int)) for i in range(len(one))]
    return float(np.mean([np.abs(a - b).mean() for a, b in pairs]))


@pytest.mark.parametrize("name", SHIFTED)
def test_every_shifted_image_has_its_class(name: str) -> None:
    """20 images a photo of the size of the source's, aligned with it in class and cluster, but of other pixels."""
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
def test_no_pixel_of_the_training_parts_is_in_a_shifted_image(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything outside their test parts painted over, photos give the same shifted images."""

    def painted(photo: Image.Image) -> Image.Image:
        box = role_region(photo.size, "test")
        alone = Image.new("RGB", photo.size, (255, 0, 255))
        alone.paste(photo.crop(box), box)
        return alone

    only = {key: painted(photo) for key, photo in read_photos().items()}
    assert all(only[key].tobytes() != photo.tobytes() for key, photo in read_photos().items())
    whole = load(name)["test"].fingerprint
    monkeypatch.setattr(shifts, "read_photos", lambda: only)
    assert loading.load(name)["test"].fingerprint == whole


@pytest.mark.parametrize("name", [*SHIFTED, "fonts-digits"])
def test_sizes_are_those_of_the_catalog(name: str) -> None:
    """As its row states them."""
    dataset, spec = load(name), CATALOG[name]
    assert spec.size == ", ".join(f"{len(split):,} {role}" for role, split in dataset.splits.items())
    assert spec.classes == str(len(dataset.classes))
    assert spec.source == ("digits" if name == "fonts-digits" else "photos")


def edge(left: int, right: int) -> Image.Image:
    """Two grey halves of 32 x 32 pixels."""
    image = Image.new("RGB", (32, 32), (left,) * 3)
    image.paste((right,) * 3, (16, 0, 32, 32))
    return image


def test_a_sketch_is_the_edges_alone() -> None:
    """Dark where brightness changes, white elsewhere, whichever side is the brighter one, without colour."""
    drawn = np.asarray(draw_sketch(edge(40, 200)))
    assert drawn[:, 15:17].max() == 0
    assert drawn[:, :12].min() == drawn[:, 20:].min() == 255
    np.testing.assert_array_equal(drawn, np.asarray(draw_sketch(edge(200, 40))))
    assert np.ptp(drawn, axis=2).max() == 0
    np.testing.assert_array_equal(
        np.asarray(draw_sketch(edge(40, 200).rotate(90))), np.asarray(draw_sketch(edge(40, 200)).rotate(90))
    )


def test_a_turned_hue() -> None:
    """A third of the circle makes red green; grey stays, as each column sums to about 256; a half undoes itself."""
    red = np.array([255, 0, 0])
    assert (red @ hue_rotation(120) // 256).tolist() == [0, 255, 0]
    assert (red @ hue_rotation(240) // 256).tolist() == [0, 0, 255]
    for degrees in range(0, 360, 15):
        assert np.abs(hue_rotation(degrees).sum(axis=0) - 256).max() <= 1
    np.testing.assert_allclose(hue_rotation(180) @ hue_rotation(180) / 256**2, np.eye(3), atol=0.01)


def test_strokes_lie_along_a_diagonal() -> None:
    """Neighbours along the stroke are alike, those across it are not; mean near 0."""
    slants = []
    for seed in range(8):
        found = brush_strokes(generator("a test", seed)).astype(float)
        assert found.shape == (SIDE, SIDE)
        assert abs(found.mean()) < 3
        down, up = (
            np.corrcoef(a.ravel(), b.ravel())[0, 1]
            for a, b in ((found[1:, 1:], found[:-1, :-1]), (found[1:, :-1], found[:-1, 1:]))
        )
        assert max(down, up) > 0.8
        assert min(down, up) < 0.2
        slants.append(down > up)
    assert len(set(slants)) == 2


def ramp(last: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    steps = np.arange(last + 1) * 255 // last
    x, y = np.meshgrid(steps, steps)
    return Image.fromarray(np.stack([x, y, 0 * x], axis=2).astype(np.uint8))


def test_a_warp_puts_each_corner_where_it_belongs() -> None:
    """The square's own corners only shrink it; those of a quadrangle land in the corners of the result."""
    last = OVERSAMPLING * SIDE - 1
    image = ramp(last)
    same = warp(image, [(0, 0), (last, 0), (last, last), (0, last)])
    np.testing.assert_array_equal(np.asarray(same), np.asarray(image.reduce(OVERSAMPLING)))
    corners = [(30, 60), (300, 10), (last, 350), (90, 200)]
    found = np.asarray(warp(image, corners), int)
    for (x, y), (row, column) in zip(corners, ((0, 0), (0, -1), (-1, -1), (-1, 0)), strict=True):
        assert np.abs(found[row, column] - [x * 255 // last, y * 255 // last, 0]).max() <= 2


def test_corners_move_inwards_by_up_to_a_quarter() -> None:
    """None leaves the square, and all of the range is used."""
    last = OVERSAMPLING * SIDE - 1
    home = np.array([(0, 0), (last, 0), (last, last), (0, last)])
    moves = np.array([np.abs(np.array(random_corners(generator("a test", i))) - home) for i in range(200)])
    corners = np.array([random_corners(generator("a test", i)) for i in range(200)])
    assert corners.min() >= 0
    assert corners.max() <= last
    assert last // 4 - 5 <= moves.max() <= last // 4
    assert moves.min() <= 5


def test_hard_images_are_pale_and_partly_covered() -> None:
    """A patch of one colour covers 0.16 to 0.49 of each; what is left spans at most 70% of the range, 179 levels."""
    test = load("photos-hard")["test"]
    for i in range(0, len(test), 7):
        pixels = np.asarray(test.image(i)).reshape(-1, 3)
        ((colour, count),) = Counter(map(tuple, pixels.tolist())).most_common(1)
        rest = pixels[(pixels != colour).any(axis=1)]
        assert count >= 0.15 * len(pixels)
        assert np.ptp(rest, axis=0).max() <= 179


def test_drawn_digits_are_of_every_font_and_polarity() -> None:
    """A tenth of each class; 21 fonts; coarse as the 8 x 8 handwritten ones; about half are dark on light."""
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
    """Of all ways to pair the classes' means with the digits of Pillow's own font, which is none of ours, the best."""
    train = load("fonts-digits")["train"]
    grey = np.stack([np.asarray(train.image(i).convert("L"), float) for i in range(len(train))])
    ground = np.median(grey[:, [0, -1]], axis=(1, 2))[:, None, None]
    light = np.where(ground > 128, 255 - grey, grey)
    means = np.stack([light[train.targets == digit].mean(axis=0).ravel() for digit in range(10)])
    wanted = np.stack([plain(digit).ravel() for digit in range(10)])
    likeness = np.corrcoef(means - means.mean(axis=0), wanted - wanted.mean(axis=0))[:10, 10:]
    assert linear_sum_assignment(-likeness)[1].tolist() == list(range(10))


def plain(digit: int) -> np.ndarray:
    """(32, 32): the digit upright in the middle, light on dark."""
    image = Image.new("L", (128, 128))
    font = ImageFont.load_default(150)
    ImageDraw.Draw(image).text((64, 64), str(digit), fill=255, font=font, anchor="mm", stroke_width=3)
    return np.asarray(image.reduce(16).resize((32, 32), Image.Resampling.BICUBIC), float)


@pytest.mark.parametrize("spec", [None, "without fonts"])
def test_absent_fonts_say_what_to_install(spec: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where matplotlib is not there, or a distribution ships it without its fonts."""

    class Found:
        submodule_search_locations = ("/nowhere",)

    monkeypatch.setattr(fonts, "find_spec", lambda name: Found() if spec else None)
    monkeypatch.setattr(fonts, "typefaces", fonts.typefaces.__wrapped__)
    with pytest.raises(MissingError, match=r'fonts inside matplotlib: pip install "bob-gauntlet\[mini\]"'):
        loading.load("fonts-digits")


def test_matplotlib_is_not_imported() -> None:
    """Its import takes longer than drawing all digits."""
    load_it = "from bob_gauntlet.datasets.loading import load; load('fonts-digits')"
    code = f"import sys; {load_it}; print('matplotlib' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"

"""Tests of the mini datasets: pixels are the same on every machine, and no pixel is in two roles."""

import os
import subprocess
import sys
from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest
from PIL import Image

from bob_gauntlet.datasets.loading import load
from bob_gauntlet.datasets.mini import sources
from bob_gauntlet.datasets.mini.build import Box, Example, build_split, generator, random_crop, render
from bob_gauntlet.datasets.mini.classification import DIGIT_RANGES, ROLE_SHARES, crop_boxes, role_region
from bob_gauntlet.datasets.mini.sources import read_digits, read_photos
from bob_gauntlet.errors import MissingError

# Made by this code on 2026-11-23 (Pillow 13.0, NumPy 2.4, the pictures of scikit-image and scikit-learn). Where a value
# changes, stored scores are no longer comparable: raise the dataset's version in the catalog, measure the baselines
# again, and write it in the changelog.
PINNED = {
    "photos": {"train": "987d885c1d9f57e8", "val": "cf2b2e6da407b787", "test": "230406b98a0c526b"},
    "digits": {"train": "0a603a642ec95185", "val": "796c57b5c79aa058", "test": "f0e4042d8367bc5a"},
    "digit-scenes": {"train": "d6c4fe1485e9d3e1", "val": "d3aca3a119f16d96", "test": "799eb030be9449c6"},
    "photos-instances": {"query": "647b8c112e25c2cc", "gallery": "6ab9e39b12862a09"},
    "copydays-mini": {"query": "2e66ca029025be6c", "gallery": "c0d9d3b1b3c0e8b8"},
}


@pytest.mark.parametrize("name", PINNED)
def test_fingerprints_are_pinned(name: str) -> None:
    """Ids, targets, clusters and pixels are those that stored scores were measured on."""
    assert load(name).fingerprints == PINNED[name]


@pytest.mark.parametrize("name", PINNED)
def test_two_loads_give_the_same(name: str) -> None:
    """A second load gives the same fingerprints."""
    assert load(name).fingerprints == load(name).fingerprints


def test_another_process_gives_the_same() -> None:
    """Fingerprints do not depend on Python's hash seed or on the current folder."""
    names = tuple(PINNED)
    code = f"from bob_gauntlet.datasets.loading import load\nfor n in {names}: print(load(n).fingerprints)"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/", env=environment
    )
    assert process.stdout.splitlines() == [str(load(name).fingerprints) for name in names]


def overlap(one: Box, other: Box) -> bool:
    """Return whether two boxes share a pixel."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.parametrize("name", read_photos())
def test_no_pixel_of_a_photo_is_in_two_roles(name: str) -> None:
    """Every crop is inside the region of its role, and the regions do not overlap."""
    size = read_photos()[name].size
    for role in ROLE_SHARES:
        left, top, right, bottom = role_region(size, role)
        for box in crop_boxes(name, size, role):
            assert left <= box[0] < box[2] <= right <= size[0]
            assert top <= box[1] < box[3] <= bottom <= size[1]
    for one, other in combinations(ROLE_SHARES, 2):
        assert not overlap(role_region(size, one), role_region(size, other))
        assert not any(overlap(a, b) for a in crop_boxes(name, size, one) for b in crop_boxes(name, size, other))


def test_a_crop_shows_nothing_from_outside() -> None:
    """A crop of the black left half of an image has no trace of the white right half."""
    photo = Image.new("RGB", (200, 100))
    photo.paste((255, 255, 255), (100, 0, 200, 100))
    assert np.asarray(render(photo, (0, 0, 100, 100))).max() == 0


def test_digits_are_split_by_index() -> None:
    """Each of the 1,797 digits (UCI, optical recognition of handwritten digits, test set) is in one role."""
    ids = [image_id for split in load("digits").splits.values() for image_id in split.ids]
    assert len(ids) == len(set(ids)) == 1797
    ranges = sorted(DIGIT_RANGES.values())
    assert [ranges[0][0], ranges[-1][1]] == [0, 1797]
    assert all(before[1] == after[0] for before, after in pairwise(ranges))


# the numbers of the catalog
@pytest.mark.parametrize(
    ("name", "sizes", "classes"),
    [
        ("photos", {"train": 420, "val": 105, "test": 420}, 21),
        ("digits", {"train": 1000, "val": 300, "test": 497}, 10),
        ("photos-instances", {"query": 168, "gallery": 420}, 84),
    ],
)
def test_sizes_are_those_of_the_catalog(name: str, sizes: dict[str, int], classes: int) -> None:
    """Sizes and the number of classes are those of the catalog, and every class is in every role."""
    dataset = load(name)
    assert {role: len(split) for role, split in dataset.splits.items()} == sizes
    assert len(dataset.classes) == classes
    for split in dataset.splits.values():
        assert set(split.targets.tolist()) == set(range(classes))


def test_every_photo_has_its_share_of_crops() -> None:
    """Each of at least 21 photos has 20 train, 5 val and 20 test crops, whose cluster is the photo."""
    dataset = load("photos")
    assert len(dataset.classes) >= 21
    for role, count in {"train": 20, "val": 5, "test": 20}.items():
        split = dataset[role]
        assert set(Counter(split.targets.tolist()).values()) == {count}
        assert [dataset.classes[target] for target in split.targets] == list(split.clusters)
        assert {split.image(i).size for i in range(len(split))} == {(128, 128)}


def test_an_instance_has_two_queries_and_five_gallery_crops() -> None:
    """Every quarter of a photo has 2 query and 5 gallery crops."""
    dataset = load("photos-instances")
    for role, count in {"query": 2, "gallery": 5}.items():
        assert set(Counter(dataset[role].targets.tolist()).values()) == {count}


def test_no_two_photos_are_alike() -> None:
    """No picture has two names, which would be two classes that no backbone can tell apart."""
    small = [np.asarray(photo.convert("L").resize((16, 16)), float).ravel() for photo in read_photos().values()]
    for one, other in combinations(small, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.95


def test_photos_are_rgb_and_small() -> None:
    """Photos are RGB, have sides of at most 1024 pixels, and are sorted by name."""
    assert {photo.mode for photo in read_photos().values()} == {"RGB"}
    assert max(max(photo.size) for photo in read_photos().values()) <= 1024
    assert list(read_photos()) == sorted(read_photos())


def test_digits_are_those_of_scikit_learn() -> None:
    """Digits that are read from the file equal those of scikit-learn, with 0..16 scaled to 0..255."""
    expected = pytest.importorskip("sklearn.datasets").load_digits()
    images, labels = read_digits()
    np.testing.assert_array_equal(labels, expected.target)
    np.testing.assert_array_equal(images, (expected.images * 255 // 16).astype(np.uint8))


def test_a_missing_package_is_reported_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """MissingError says what to install, so that settings are skipped with this reason."""
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r'need sklearn: pip install "bob-gauntlet\[mini\]"'):
        sources.read_digits.__wrapped__()


BASE = Example("a", 0, "photo", Image.new("RGB", (2, 2)))


@pytest.mark.parametrize(
    "other",
    [
        Example("b", 0, "photo", BASE.image),
        Example("a", 1, "photo", BASE.image),
        Example("a", 0, "other", BASE.image),
        Example("a", 0, "photo", Image.new("RGB", (4, 1))),
        Example("a", 0, "photo", Image.fromarray(np.array([[[0, 0, 0]] * 2, [[0, 0, 0], [0, 0, 1]]], np.uint8))),
    ],
    ids=["id", "target", "cluster", "size", "pixel"],
)
def test_a_fingerprint_covers_everything(other: Example) -> None:
    """A change of one grey level in one channel, of the role or of the order changes the fingerprint."""
    assert build_split("train", [other]).fingerprint != build_split("train", [BASE]).fingerprint
    assert build_split("test", [BASE]).fingerprint != build_split("train", [BASE]).fingerprint
    assert build_split("train", [BASE, other]).fingerprint != build_split("train", [other, BASE]).fingerprint


def test_crops_stay_inside_their_region() -> None:
    """Crops are squares inside the region, and their sides are 0.4 to 0.9 of its short side of 50 pixels."""
    rng = generator("a test")
    for _ in range(200):
        left, top, right, bottom = random_crop(rng, (100, 20, 200, 70), 0.4, 0.9)
        assert 100 <= left < right <= 200
        assert 20 <= top < bottom <= 70
        assert 20 <= right - left == bottom - top <= 45


def test_generators_are_seeded_by_names() -> None:
    """The same names give the same random numbers, and other names give others."""
    first, again, other = (generator(*names).integers(0, 2**31, 4).tolist() for names in (("a", 1), ("a", 1), ("a", 2)))
    assert first == again != other

"""Tests of all the paper's datasets that are read from disk: roles, ids, images, fingerprints, and missing data."""

import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.errors import BobError, MissingError
from tests.helpers.dataset_trees import DETECTION, TREES, write_noise_image

SHIFTED = ("imagenet-a", "imagenet-r", "imagenet-v2", "imagenet-sketch")
ROLES = {
    "imagenet-1k": ["train", "test"],
    **{name: ["train", "source", "test"] for name in SHIFTED},
    "cifar-100": ["train", "test"],
    **{name: ["train", "val", "test"] for name in ("flowers-102", "fgvc-aircraft", "eurosat")},
    "chexpert": ["train", "test"],
    "visda-2017": ["train", "source", "test"],
}
PAPER_ROLES = dict.fromkeys(TREES, "test") | dict.fromkeys(("flowers-102", "fgvc-aircraft", "eurosat"), "val")


def find_loader(name: str) -> Callable[[DataLocations], Dataset]:
    """Return the reader that the catalog names."""
    module, function = CATALOG[name].loader.split(":")
    loader: Callable[[DataLocations], Dataset] = getattr(import_module(module), function)
    return loader


def write_tree(root: Path, name: str) -> None:
    """Write the files of a dataset, and those of ImageNet-1k where the dataset needs it."""
    TREES[name](root)
    if name in SHIFTED:
        TREES["imagenet-1k"](root)


def first_folder(name: str) -> str:
    """Return the first folder that is looked for: that of the dataset, or of the first dataset that it combines."""
    return CATALOG[name].needs[0] if CATALOG[name].combined else name


@pytest.mark.parametrize("name", sorted(set(TREES) - set(DETECTION)))
def test_a_dataset_is_read(name: str, tmp_path: Path) -> None:
    """A dataset has its roles, unique ids, targets within its classes and RGB images, and no image in two roles."""
    write_tree(tmp_path, name)
    dataset = find_loader(name)(DataLocations(tmp_path))
    assert (dataset.name, list(dataset.splits), dataset.paper_role) == (name, ROLES[name], PAPER_ROLES[name])
    for role, split in dataset.splits.items():
        assert split.role == role
        assert len(split) == len(set(split.ids)) == len(split.targets) == len(split.clusters) > 0
        assert split.targets.dtype == np.int64
        assert (split.image(len(split) - 1).mode, split.image(0).size) == ("RGB", (40, 40))
        assert split.targets.min() >= 0
        assert split.targets.max() < len(dataset.classes)
    ids = [image_id for split in dataset.splits.values() for image_id in split.ids]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", TREES)
def test_fingerprints_do_not_depend_on_the_folder(name: str, tmp_path: Path) -> None:
    """Fingerprints are equal in a second load and in another folder, and different for different roles."""
    write_tree(tmp_path / "here", name)
    first = find_loader(name)(DataLocations(tmp_path / "here")).fingerprints
    assert find_loader(name)(DataLocations(tmp_path / "here")).fingerprints == first
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert find_loader(name)(DataLocations(tmp_path / "there")).fingerprints == first
    assert len(set(first.values())) == len(first)


@pytest.mark.parametrize("name", sorted(set(TREES) - {"chexpert", "visda-2017", "fgvc-aircraft", *DETECTION}))
def test_an_added_image_changes_the_fingerprint(name: str, tmp_path: Path) -> None:
    """An image that is added beside a test image changes the fingerprint of test, unless images are listed."""
    write_tree(tmp_path, name)
    before = find_loader(name)(DataLocations(tmp_path))
    sibling = next(p for p in sorted((tmp_path / name).rglob("*")) if p.is_file() and p.stem in before["test"].ids[0])
    write_noise_image(sibling.with_name(f"x{sibling.name}"))
    after = find_loader(name)(DataLocations(tmp_path))
    assert after["test"].fingerprint != before["test"].fingerprint


@pytest.mark.parametrize("name", TREES)
def test_missing_data_raise_the_place_and_what_to_do(name: str, tmp_path: Path) -> None:
    """The error names the folder, the licence and the command, for a missing and for an empty folder."""
    for _ in range(2):
        with pytest.raises(MissingError) as error:
            find_loader(name)(DataLocations(tmp_path))
        message = str(error.value)
        folder = first_folder(name)
        assert f"{folder} is not in {tmp_path / folder}" in message
        assert f"licence: {CATALOG[folder].licence}" in message
        assert f"`bob data {folder}`" in message
        (tmp_path / folder).mkdir(exist_ok=True)


@pytest.mark.parametrize("name", TREES)
def test_another_folder_is_an_error_not_a_skip(name: str, tmp_path: Path) -> None:
    """A folder with other content raises an error of one line that is not MissingError."""
    TREES["imagenet-1k"](tmp_path)
    shutil.rmtree(tmp_path / first_folder(name), ignore_errors=True)
    write_noise_image(tmp_path / first_folder(name) / "docs/pages/a.png")
    with pytest.raises(BobError) as error:
        find_loader(name)(DataLocations(tmp_path))
    assert not isinstance(error.value, MissingError)
    assert first_folder(name) in str(error.value)
    assert "\n" not in str(error.value)

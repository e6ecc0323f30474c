"""Every dataset of the paper that is read from disk: roles, ids, images, fingerprints, and what is said when absent."""

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
EVALUATED = dict.fromkeys(TREES, "test") | dict.fromkeys(("flowers-102", "fgvc-aircraft", "eurosat"), "val")


def loader(name: str) -> Callable[[DataLocations], Dataset]:
    """The reader that the catalog names."""
    module, function = CATALOG[name].loader.split(":")
    found: Callable[[DataLocations], Dataset] = getattr(import_module(module), function)
    return found


def grow(root: Path, name: str) -> None:
    """Write a dataset's tree, and that of ImageNet-1k where it is needed."""
    TREES[name](root)
    if name in SHIFTED:
        TREES["imagenet-1k"](root)


def place(name: str) -> str:
    """The folder that is looked at first: its own, or that of the first dataset that it is made of."""
    return CATALOG[name].needs[0] if CATALOG[name].combined else name


@pytest.mark.parametrize("name", sorted(set(TREES) - set(DETECTION)))
def test_a_dataset_is_read(name: str, tmp_path: Path) -> None:
    """Roles, unique ids, targets within the classes, RGB images, and no image in two roles."""
    grow(tmp_path, name)
    found = loader(name)(DataLocations(tmp_path))
    assert (found.name, list(found.splits), found.paper_role) == (name, ROLES[name], EVALUATED[name])
    for role, split in found.splits.items():
        assert split.role == role
        assert len(split) == len(set(split.ids)) == len(split.targets) == len(split.clusters) > 0
        assert split.targets.dtype == np.int64
        assert (split.image(len(split) - 1).mode, split.image(0).size) == ("RGB", (40, 40))
        assert split.targets.min() >= 0
        assert split.targets.max() < len(found.classes)
    every = [identity for split in found.splits.values() for identity in split.ids]
    assert len(every) == len(set(every))


@pytest.mark.parametrize("name", TREES)
def test_fingerprints_do_not_depend_on_the_folder(name: str, tmp_path: Path) -> None:
    """Read twice, and read elsewhere, they are equal; no two roles share one."""
    grow(tmp_path / "here", name)
    first = loader(name)(DataLocations(tmp_path / "here")).fingerprints
    assert loader(name)(DataLocations(tmp_path / "here")).fingerprints == first
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert loader(name)(DataLocations(tmp_path / "there")).fingerprints == first
    assert len(set(first.values())) == len(first)


@pytest.mark.parametrize("name", sorted(set(TREES) - {"chexpert", "visda-2017", "fgvc-aircraft", *DETECTION}))
def test_a_file_more_is_another_fingerprint(name: str, tmp_path: Path) -> None:
    """An image beside a test image changes test, in the datasets without a list of images."""
    grow(tmp_path, name)
    before = loader(name)(DataLocations(tmp_path))
    sibling = next(p for p in sorted((tmp_path / name).rglob("*")) if p.is_file() and p.stem in before["test"].ids[0])
    write_noise_image(sibling.with_name(f"x{sibling.name}"))
    after = loader(name)(DataLocations(tmp_path))
    assert after["test"].fingerprint != before["test"].fingerprint


@pytest.mark.parametrize("name", TREES)
def test_absent_data_say_where_and_how(name: str, tmp_path: Path) -> None:
    """The reason for the skip names the folder, the licence and what to type, for an absent and for an empty folder."""
    for _ in range(2):
        with pytest.raises(MissingError) as error:
            loader(name)(DataLocations(tmp_path))
        message = str(error.value)
        first = place(name)
        assert f"{first} is not in {tmp_path / first}" in message
        assert f"licence: {CATALOG[first].licence}" in message
        assert f"`bob data {first}`" in message
        (tmp_path / first).mkdir(exist_ok=True)


@pytest.mark.parametrize("name", TREES)
def test_another_folder_is_an_error_not_a_skip(name: str, tmp_path: Path) -> None:
    """A folder that holds something else is said to be wrong, in one line."""
    TREES["imagenet-1k"](tmp_path)
    shutil.rmtree(tmp_path / place(name), ignore_errors=True)
    write_noise_image(tmp_path / place(name) / "docs/pages/a.png")
    with pytest.raises(BobError) as error:
        loader(name)(DataLocations(tmp_path))
    assert not isinstance(error.value, MissingError)
    assert place(name) in str(error.value)
    assert "\n" not in str(error.value)

"""Tests of `cifar-100`, `flowers-102`, `fgvc-aircraft` and `eurosat`: layouts, class folders and downloads."""

import json
import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from time import sleep

import numpy as np
import pytest
from PIL import Image

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper import torchvision_sets
from bob_gauntlet.datasets.paper.torchvision_sets import (
    load_cifar_100,
    load_eurosat,
    load_fgvc_aircraft,
    load_flowers_102,
)
from bob_gauntlet.errors import BobError
from tests.helpers import dataset_trees as trees
from tests.helpers.dataset_trees import LAND, VARIANTS, write_role_folders

LOADERS: dict[str, Callable[[DataLocations], Dataset]] = {
    "cifar-100": load_cifar_100,
    "flowers-102": load_flowers_102,
    "fgvc-aircraft": load_fgvc_aircraft,
    "eurosat": load_eurosat,
}


def test_cifar_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are numbers, classes are the fine labels, and pixels are those of the pickle."""
    trees.cifar_100_pickles(tmp_path, monkeypatch)
    dataset = load_cifar_100(DataLocations(tmp_path))
    assert dataset.classes == ("apple", "bee", "cup")
    assert (list(dataset.splits), dataset.paper_role) == (["train", "test"], "test")
    assert dataset["test"].ids == tuple(f"test-{i:05}" for i in range(6))
    assert dataset["train"].targets.tolist() == [0, 1, 2] * 3
    # a row has 3,072 values: red, green and blue planes; the generator is that of dataset_trees.py
    row = np.random.default_rng(6).integers(0, 256, (6, 3072)).astype(np.uint8)[4]
    assert np.asarray(dataset["test"].image(4)).tolist() == row.reshape(3, 32, 32).transpose(1, 2, 0).tolist()


def test_cifar_fingerprints_cover_pixels_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inner folder gives equal fingerprints, and another label or pixel changes the fingerprint."""
    trees.cifar_100_pickles(tmp_path, monkeypatch)
    expected = load_cifar_100(DataLocations(tmp_path)).fingerprints
    inner = DataLocations(Path("nowhere"), {"cifar-100": tmp_path / "cifar-100/cifar-100-python"})
    assert load_cifar_100(inner).fingerprints == expected
    pixels, labels = np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1])
    fingerprints = {torchvision_sets._split_in_memory("test", pixels, labels).fingerprint}
    fingerprints.add(torchvision_sets._split_in_memory("test", pixels, labels[::-1]).fingerprint)
    pixels[1, 7, 7, 2] = 1
    fingerprints.add(torchvision_sets._split_in_memory("test", pixels, labels).fingerprint)
    assert len(fingerprints) == 3


def test_a_damaged_cifar_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with a wrong checksum is an error."""
    trees.cifar_100_pickles(tmp_path, monkeypatch)
    with (tmp_path / "cifar-100/cifar-100-python/test").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BobError, match=r"cifar-100 in .* is damaged, or not the publisher's data"):
        load_cifar_100(DataLocations(tmp_path))


@pytest.mark.parametrize("inner", ["flowers-102", ""], ids=["torchvision", "the folder itself"])
def test_flowers_from_the_publishers_lists(inner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Roles come from setid.mat, classes from imagelabels.mat, which counts from 1, and ids are file names."""
    trees.flowers_102_mat(tmp_path, monkeypatch, inner)
    dataset = load_flowers_102(DataLocations(tmp_path))
    assert dataset.classes == ("1", "2")
    assert dataset.paper_role == "val"
    numbers_by_role = {"train": [1, 3, 5, 9], "val": [2, 4, 7], "test": [6, 8, 10, 11, 12]}
    for role, numbers in numbers_by_role.items():
        assert dataset[role].ids == tuple(f"image_{number:05}.jpg" for number in numbers)
        # the label of image n in dataset_trees.py
        assert dataset[role].targets.tolist() == [(number - 1) // 2 % 2 for number in numbers]


def test_flowers_without_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the first missing image."""
    trees.flowers_102_mat(tmp_path, monkeypatch)
    (tmp_path / "flowers-102/flowers-102/jpg/image_00004.jpg").unlink()
    with pytest.raises(BobError, match=r"image_00004.jpg cannot be found"):
        load_flowers_102(DataLocations(tmp_path))


@pytest.mark.parametrize("inner", ["", "fgvc-aircraft-2013b"], ids=["the parent", "the folder itself"])
def test_aircraft_by_variant(inner: str, tmp_path: Path) -> None:
    """Roles are the publisher's train, val and test, and classes are in the order of variants.txt."""
    trees.fgvc_aircraft(tmp_path)
    dataset = load_fgvc_aircraft(DataLocations(Path("nowhere"), {"fgvc-aircraft": tmp_path / "fgvc-aircraft" / inner}))
    assert dataset.classes == VARIANTS
    assert dataset.paper_role == "val"
    assert {role: len(split) for role, split in dataset.splits.items()} == {"train": 24, "val": 9, "test": 9}
    assert dataset["val"].ids[1] == "0002001.jpg"
    assert dataset["val"].targets.tolist() == [0, 1, 2] * 3


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("images_variant_val.txt", "0002000 Zeppelin\n", "KeyError: 'Zeppelin'"),
        ("images_variant_val.txt", "0009999 707-320\n", "0009999.jpg cannot be found"),
        ("images_variant_test.txt", "", "no images in its list of test"),
        ("variants.txt", None, "is damaged, or not the publisher's data"),
    ],
    ids=["unknown variant", "missing image", "empty list", "missing list"],
)
def test_bad_lists_of_aircraft(file: str, text: str | None, message: str, tmp_path: Path) -> None:
    """The error names the file or the entry."""
    trees.fgvc_aircraft(tmp_path)
    path = next(tmp_path.rglob(file))
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(BobError, match=message):
        load_fgvc_aircraft(DataLocations(tmp_path))


@pytest.mark.parametrize("inner", ["eurosat/2750", "2750", "EuroSAT_RGB"])
@pytest.mark.parametrize("name", torchvision_sets.COOP_SPLITS)
def test_eurosat_by_the_published_split(inner: str, name: str, tmp_path: Path) -> None:
    """Roles and labels are those of the JSON file, and train keeps the images that the paper's code draws."""
    trees.eurosat_json(tmp_path, inner, name)
    dataset = load_eurosat(DataLocations(tmp_path))
    assert (dataset.classes, dataset.paper_role) == (LAND, "val")
    assert {role: len(split) for role, split in dataset.splits.items()} == {"train": 12, "val": 12, "test": 12}
    # int(120 * 0.1 / 3) = 4 of 40; class c has the entries c, c + 3, ... of the file; the seed is set for each class
    drawn = random.Random(0).sample(range(40), 4)
    assert dataset["train"].ids == tuple(sorted(f"{land}/{land}_{i}.jpg" for land in LAND for i in drawn))
    assert dataset["val"].ids == tuple(sorted(f"{land}/{land}_{i}.jpg" for land in LAND for i in range(40, 44)))
    assert dataset["val"].targets.tolist() == np.repeat([0, 1, 2], 4).tolist()


def test_eurosat_without_a_published_split(tmp_path: Path) -> None:
    """Each class is divided 5 : 2 : 3, and a tenth of train is kept, in a second load as in the first."""
    trees.eurosat(tmp_path, 40)
    dataset = load_eurosat(DataLocations(tmp_path))
    assert np.bincount(dataset["train"].targets).tolist() == [2, 2, 2]
    assert np.bincount(dataset["val"].targets).tolist() == [8, 8, 8]
    assert np.bincount(dataset["test"].targets).tolist() == [12, 12, 12]
    order = random.Random(0).sample(range(40), 40)
    forests = sorted(f"Forest_{i}.jpg" for i in range(40))
    assert {i for i in dataset["val"].ids if "Forest" in i} == {f"Forest/{forests[i]}" for i in order[20:28]}
    assert load_eurosat(DataLocations(tmp_path)).fingerprints == dataset.fingerprints


@pytest.mark.parametrize("count", [3, 4])
def test_a_class_too_small_to_divide(count: int, tmp_path: Path) -> None:
    """Four images of a class are enough for all roles, and three are an error."""
    trees.eurosat(tmp_path, count)
    if count == 4:
        dataset = load_eurosat(DataLocations(tmp_path))
        assert {role: len(split) for role, split in dataset.splits.items()} == {"train": 3, "val": 3, "test": 3}
    else:
        with pytest.raises(BobError, match="eurosat: 3 images in class folder AnnualCrop are too few"):
            load_eurosat(DataLocations(tmp_path))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.pop("val"), r"is not \{train, val, test: .*'val'"),
        (lambda s: s["test"].append(["Forest/x.jpg", 1]), "is not {train, val, test"),
        (lambda s: s["test"].append(["Forest/x.jpg", 4, "Sea"]), r"its labels are not 0, 1, ... without gaps"),
        (lambda s: s["test"].append(["Forest/x.jpg", 1, "Forest"]), r"eurosat test: .*x.jpg cannot be found"),
    ],
    ids=["no val", "short entry", "gap in labels", "missing image"],
)
def test_a_bad_split_of_eurosat(spoil: Callable[[dict], object], message: str, tmp_path: Path) -> None:
    """A bad JSON file raises an error that names what is wrong."""
    path = trees.eurosat_json(tmp_path)
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(BobError, match=message):
        load_eurosat(DataLocations(tmp_path))
    path.write_text("{")
    with pytest.raises(BobError, match=r"split_zhou_EuroSAT.json is not"):
        load_eurosat(DataLocations(tmp_path))


@pytest.mark.parametrize("name", LOADERS)
def test_class_folders_by_role(name: str, tmp_path: Path) -> None:
    """Class folders by role are read; without val the paper's role is test, and without test it is an error."""
    write_role_folders(tmp_path / name, ("a", "b"), train=40, val=4, test=6)
    dataset = LOADERS[name](DataLocations(tmp_path))
    sizes = {role: len(split) for role, split in dataset.splits.items()}
    # EuroSAT: int(80 * 0.1 / 2) = 4 of each class
    assert sizes == {"train": 8 if name == "eurosat" else 80, "val": 8, "test": 12}
    assert dataset.classes == ("a", "b")
    shutil.rmtree(tmp_path / name / "val")
    without_val = LOADERS[name](DataLocations(tmp_path))
    assert without_val.paper_role == "test"
    assert list(without_val.splits) == ["train", "test"]
    (tmp_path / name / "test").rename(tmp_path / name / "val")
    with pytest.raises(BobError, match=f"{name} test: .* cannot be read"):
        LOADERS[name](DataLocations(tmp_path))


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("cifar-100", "cifar-100-python"),
        ("flowers-102", "flowers-102"),
        ("fgvc-aircraft", "fgvc-aircraft-2013b"),
    ],
)
def test_the_publishers_folder_under_another_name(name: str, folder: str, tmp_path: Path) -> None:
    """The error states the folder name that torchvision looks for."""
    trees.write_noise_image(tmp_path / "mine/jpg/a.jpg")
    with pytest.raises(BobError, match=f"{name}: .*mine has neither {folder} nor train and test; rename"):
        LOADERS[name](DataLocations(tmp_path, {name: tmp_path / "mine"}))


@pytest.mark.parametrize("name", LOADERS)
def test_nothing_is_downloaded_unless_allowed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the option nothing is downloaded; with it data are downloaded once, into the dataset's folder."""
    folders: list[Path] = []

    def download_tree(folder: Path, download: bool = False, **rest: str) -> None:
        assert download
        folders.append(folder)
        write_role_folders(folder, ("a", "b"), train=10, val=2, test=2)

    for dataset in ("CIFAR100", "Flowers102", "FGVCAircraft", "EuroSAT"):
        monkeypatch.setattr(torchvision_sets, dataset, download_tree)
    with pytest.raises(BobError, match=f"{name} is not in"):
        LOADERS[name](DataLocations(tmp_path / "data"))
    assert not folders
    for _ in range(2):
        loaded = LOADERS[name](DataLocations(tmp_path / "data", download=True))
        assert loaded["test"].image(0).size == (40, 40)
    assert len(folders) == 1
    assert folders[0].parent == tmp_path / "data"
    assert not folders[0].exists()


def test_two_downloads_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second download waits, and then reads what the first downloaded."""
    folders: list[Path] = []
    barrier = Barrier(2)

    def download_tree(folder: Path, download: bool = False) -> None:
        folders.append(folder)
        sleep(0.3)
        write_role_folders(folder, ("a", "b"), train=10, val=2, test=2)

    def read(_: int) -> dict[str, str]:
        barrier.wait()
        return load_eurosat(DataLocations(tmp_path, download=True)).fingerprints

    monkeypatch.setattr(torchvision_sets, "EuroSAT", download_tree)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(read, range(2))
    assert one == other
    assert len(folders) == 1


def test_a_failed_download_leaves_nothing_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partly downloaded dataset is not read, and the next attempt starts with an empty folder."""

    def fail_midway(folder: Path, download: bool = False) -> None:
        assert not folder.exists()
        write_role_folders(folder, ("a", "b"), train=1)
        raise OSError("no network")

    monkeypatch.setattr(torchvision_sets, "EuroSAT", fail_midway)
    for _ in range(2):
        with pytest.raises(BobError, match=r"cannot download eurosat to .*eurosat \(no network\); try again"):
            load_eurosat(DataLocations(tmp_path, download=True))
    assert not (tmp_path / "eurosat").exists()


def test_images_are_read_when_asked_for(tmp_path: Path) -> None:
    """Loading a dataset reads no image, so that a broken image raises its error when it is read."""
    trees.fgvc_aircraft(tmp_path)
    path = next(tmp_path.rglob("0003000.jpg"))
    path.write_bytes(b"broken")
    dataset = load_fgvc_aircraft(DataLocations(tmp_path))
    assert isinstance(dataset["test"].image(1), Image.Image)
    with pytest.raises(BobError, match=r"0003000.jpg"):
        dataset["test"].image(0)

"""`cifar-100`, `flowers-102`, `fgvc-aircraft` and `eurosat`: the publishers' layouts, class folders, and fetching."""

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
    """Ids are numbers, classes the fine labels, pixels those of the pickle."""
    trees.cifar_100_pickles(tmp_path, monkeypatch)
    found = load_cifar_100(DataLocations(tmp_path))
    assert found.classes == ("apple", "bee", "cup")
    assert (list(found.splits), found.paper_role) == (["train", "test"], "test")
    assert found["test"].ids == tuple(f"test-{i:05}" for i in range(6))
    assert found["train"].targets.tolist() == [0, 1, 2] * 3
    # rows of 3,072: red, green, blue planes; the generator is that of trees.py
    row = np.random.default_rng(6).integers(0, 256, (6, 3072)).astype(np.uint8)[4]
    assert np.asarray(found["test"].image(4)).tolist() == row.reshape(3, 32, 32).transpose(1, 2, 0).tolist()


def test_cifar_fingerprints_cover_pixels_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal when read again, elsewhere too; another label or pixel is another fingerprint."""
    trees.cifar_100_pickles(tmp_path, monkeypatch)
    known = load_cifar_100(DataLocations(tmp_path)).fingerprints
    inner = DataLocations(Path("nowhere"), {"cifar-100": tmp_path / "cifar-100/cifar-100-python"})
    assert load_cifar_100(inner).fingerprints == known
    pixels, labels = np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1])
    prints = {torchvision_sets._split_in_memory("test", pixels, labels).fingerprint}
    prints.add(torchvision_sets._split_in_memory("test", pixels, labels[::-1]).fingerprint)
    pixels[1, 7, 7, 2] = 1
    prints.add(torchvision_sets._split_in_memory("test", pixels, labels).fingerprint)
    assert len(prints) == 3


def test_a_damaged_cifar_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong checksum."""
    trees.cifar_100_pickles(tmp_path, monkeypatch)
    with (tmp_path / "cifar-100/cifar-100-python/test").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BobError, match=r"cifar-100 in .* is damaged, or not the publisher's data"):
        load_cifar_100(DataLocations(tmp_path))


@pytest.mark.parametrize("inner", ["flowers-102", ""], ids=["torchvision", "the folder itself"])
def test_flowers_from_the_publishers_lists(inner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, val and test by setid.mat, classes by imagelabels.mat, which counts from 1; ids are file names."""
    trees.flowers_102_mat(tmp_path, monkeypatch, inner)
    found = load_flowers_102(DataLocations(tmp_path))
    assert found.classes == ("1", "2")
    assert found.paper_role == "val"
    numbers = {"train": [1, 3, 5, 9], "val": [2, 4, 7], "test": [6, 8, 10, 11, 12]}
    for role, wanted in numbers.items():
        assert found[role].ids == tuple(f"image_{number:05}.jpg" for number in wanted)
        # label of image n in trees.py
        assert found[role].targets.tolist() == [(number - 1) // 2 % 2 for number in wanted]


def test_flowers_without_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first image that is not there is named."""
    trees.flowers_102_mat(tmp_path, monkeypatch)
    (tmp_path / "flowers-102/flowers-102/jpg/image_00004.jpg").unlink()
    with pytest.raises(BobError, match=r"image_00004.jpg cannot be found"):
        load_flowers_102(DataLocations(tmp_path))


@pytest.mark.parametrize("inner", ["", "fgvc-aircraft-2013b"], ids=["the parent", "the folder itself"])
def test_aircraft_by_variant(inner: str, tmp_path: Path) -> None:
    """The publisher's train, val and test; the order of classes is that of variants.txt."""
    trees.fgvc_aircraft(tmp_path)
    found = load_fgvc_aircraft(DataLocations(Path("nowhere"), {"fgvc-aircraft": tmp_path / "fgvc-aircraft" / inner}))
    assert found.classes == VARIANTS
    assert found.paper_role == "val"
    assert {role: len(split) for role, split in found.splits.items()} == {"train": 24, "val": 9, "test": 9}
    assert found["val"].ids[1] == "0002001.jpg"
    assert found["val"].targets.tolist() == [0, 1, 2] * 3


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
    """One line that names the file or the entry."""
    trees.fgvc_aircraft(tmp_path)
    path = next(tmp_path.rglob(file))
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(BobError, match=message):
        load_fgvc_aircraft(DataLocations(tmp_path))


@pytest.mark.parametrize("inner", ["eurosat/2750", "2750", "EuroSAT_RGB"])
@pytest.mark.parametrize("name", torchvision_sets.COOP_SPLITS)
def test_eurosat_by_the_published_split(inner: str, name: str, tmp_path: Path) -> None:
    """The JSON file's roles and labels; of each class of train the images that the paper's code draws."""
    trees.eurosat_json(tmp_path, inner, name)
    found = load_eurosat(DataLocations(tmp_path))
    assert (found.classes, found.paper_role) == (LAND, "val")
    assert {role: len(split) for role, split in found.splits.items()} == {"train": 12, "val": 12, "test": 12}
    # int(120 * 0.1 / 3) = 4 of 40; images of class c stand at c, c + 3, ... in the file, seeded anew for each class
    drawn = random.Random(0).sample(range(40), 4)
    assert found["train"].ids == tuple(sorted(f"{land}/{land}_{i}.jpg" for land in LAND for i in drawn))
    assert found["val"].ids == tuple(sorted(f"{land}/{land}_{i}.jpg" for land in LAND for i in range(40, 44)))
    assert found["val"].targets.tolist() == np.repeat([0, 1, 2], 4).tolist()


def test_eurosat_divided_by_us(tmp_path: Path) -> None:
    """Half, a fifth and three tenths of each class; a tenth of the half is trained on; nothing is in two roles."""
    trees.eurosat(tmp_path, 40)
    found = load_eurosat(DataLocations(tmp_path))
    assert np.bincount(found["train"].targets).tolist() == [2, 2, 2]
    assert np.bincount(found["val"].targets).tolist() == [8, 8, 8]
    assert np.bincount(found["test"].targets).tolist() == [12, 12, 12]
    order = random.Random(0).sample(range(40), 40)
    wanted = sorted(f"Forest_{i}.jpg" for i in range(40))
    assert {i for i in found["val"].ids if "Forest" in i} == {f"Forest/{wanted[i]}" for i in order[20:28]}
    assert load_eurosat(DataLocations(tmp_path)).fingerprints == found.fingerprints


@pytest.mark.parametrize("count", [3, 4])
def test_a_class_too_small_to_divide(count: int, tmp_path: Path) -> None:
    """Four images are the fewest that give one to each role."""
    trees.eurosat(tmp_path, count)
    if count == 4:
        found = load_eurosat(DataLocations(tmp_path))
        assert {role: len(split) for role, split in found.splits.items()} == {"train": 3, "val": 3, "test": 3}
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
    """One line that names the file."""
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
    """Train, val and test of class folders; without val the paper's role is test; without test it is an error."""
    write_role_folders(tmp_path / name, ("a", "b"), train=40, val=4, test=6)
    found = LOADERS[name](DataLocations(tmp_path))
    sizes = {role: len(split) for role, split in found.splits.items()}
    # EuroSAT: int(80 * 0.1 / 2) = 4 of each class
    assert sizes == {"train": 8 if name == "eurosat" else 80, "val": 8, "test": 12}
    assert found.classes == ("a", "b")
    shutil.rmtree(tmp_path / name / "val")
    assert (without := LOADERS[name](DataLocations(tmp_path))).paper_role == "test"
    assert list(without.splits) == ["train", "test"]
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
    """The name that torchvision looks for is in the message."""
    trees.write_noise_image(tmp_path / "mine/jpg/a.jpg")
    with pytest.raises(BobError, match=f"{name}: .*mine has neither {folder} nor train and test; rename"):
        LOADERS[name](DataLocations(tmp_path, {name: tmp_path / "mine"}))


@pytest.mark.parametrize("name", LOADERS)
def test_nothing_is_fetched_unless_allowed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the option no fetch; with it one, into the dataset's folder, and none when the data are there."""
    fetched: list[Path] = []

    def fetch(part: Path, download: bool = False, **rest: str) -> None:
        assert download
        fetched.append(part)
        write_role_folders(part, ("a", "b"), train=10, val=2, test=2)

    for dataset in ("CIFAR100", "Flowers102", "FGVCAircraft", "EuroSAT"):
        monkeypatch.setattr(torchvision_sets, dataset, fetch)
    with pytest.raises(BobError, match=f"{name} is not in"):
        LOADERS[name](DataLocations(tmp_path / "data"))
    assert not fetched
    for _ in range(2):
        found = LOADERS[name](DataLocations(tmp_path / "data", download=True))
        assert found["test"].image(0).size == (40, 40)
    assert len(fetched) == 1
    assert fetched[0].parent == tmp_path / "data"
    assert not fetched[0].exists()


def test_two_who_fetch_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits, and then reads what the first fetched."""
    fetched: list[Path] = []
    begun = Barrier(2)

    def fetch(part: Path, download: bool = False) -> None:
        fetched.append(part)
        sleep(0.3)
        write_role_folders(part, ("a", "b"), train=10, val=2, test=2)

    def read(_: int) -> dict[str, str]:
        begun.wait()
        return load_eurosat(DataLocations(tmp_path, download=True)).fingerprints

    monkeypatch.setattr(torchvision_sets, "EuroSAT", fetch)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(read, range(2))
    assert one == other
    assert len(fetched) == 1


def test_a_failed_fetch_leaves_nothing_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a dataset is not taken for one; the next try starts afresh."""

    def fetch(part: Path, download: bool = False) -> None:
        assert not part.exists()
        write_role_folders(part, ("a", "b"), train=1)
        raise OSError("no network")

    monkeypatch.setattr(torchvision_sets, "EuroSAT", fetch)
    for _ in range(2):
        with pytest.raises(BobError, match=r"cannot download eurosat to .*eurosat \(no network\); try again"):
            load_eurosat(DataLocations(tmp_path, download=True))
    assert not (tmp_path / "eurosat").exists()


def test_images_are_read_when_asked_for(tmp_path: Path) -> None:
    """A broken image is found by the one who reads it, not by the loader."""
    trees.fgvc_aircraft(tmp_path)
    path = next(tmp_path.rglob("0003000.jpg"))
    path.write_bytes(b"broken")
    found = load_fgvc_aircraft(DataLocations(tmp_path))
    assert isinstance(found["test"].image(1), Image.Image)
    with pytest.raises(BobError, match=r"0003000.jpg"):
        found["test"].image(0)

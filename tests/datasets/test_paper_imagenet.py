"""`imagenet-1k` in every layout, its subsets, and the test sets that share its training data."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper import shifted
from bob_gauntlet.datasets.paper.imagenet import load_imagenet_1k
from bob_gauntlet.datasets.paper.shifted import (
    load_imagenet_a,
    load_imagenet_r,
    load_imagenet_sketch,
    load_imagenet_v2,
)
from bob_gauntlet.errors import BobError, MissingError
from tests.helpers import dataset_trees as trees
from tests.helpers.dataset_trees import WNIDS, write_class_folders, write_noise_image

FLAT = {"devkit": trees.imagenet_devkit, "kaggle": trees.imagenet_kaggle}


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """The folder of a small ImageNet-1k, under a data root."""
    trees.imagenet(tmp_path)
    return tmp_path / "imagenet-1k"


def load(root: Path) -> Dataset:
    """ImageNet-1k below a data root."""
    return load_imagenet_1k(DataLocations(root))


def test_class_folders_are_classes(imagenet: Path) -> None:
    """Train and val by folder; classes are the sorted WordNet ids."""
    found = load(imagenet.parent)
    assert found.classes == WNIDS
    assert np.bincount(found["train"].targets).tolist() == [8, 8, 8]
    assert found["train"].ids[8] == f"{WNIDS[1]}/{WNIDS[1]}_0.JPEG"
    # image k of val is of class k mod 3 in trees.py
    numbers = [int(name[-13:-5]) for name in found["test"].ids]
    assert found["test"].targets.tolist() == [n % 3 for n in numbers]
    assert sorted(numbers) == list(range(1, 13))


@pytest.mark.parametrize("layout", FLAT.values(), ids=FLAT)
def test_a_flat_val_is_the_same_split(layout: Callable[[Path], None], imagenet: Path, tmp_path: Path) -> None:
    """With the devkit's or Kaggle's labels: ids, targets, pixels and fingerprints are those of class folders."""
    layout(tmp_path / "flat")
    for path in (imagenet / "val").rglob("*.JPEG"):
        (flat,) = (tmp_path / "flat").rglob(path.name)
        shutil.copy(path, flat)
    found, known = load(tmp_path / "flat"), load(imagenet.parent)
    assert found["test"].ids == known["test"].ids
    assert found["test"].targets.tolist() == known["test"].targets.tolist()
    assert found.fingerprints == known.fingerprints
    assert [found["test"].image(i).tobytes() for i in range(12)] == [
        known["test"].image(i).tobytes() for i in range(12)
    ]


@pytest.mark.parametrize("inner", ["ILSVRC", "ILSVRC/Data/CLS-LOC"])
def test_the_folder_may_be_one_of_kaggles(inner: str, tmp_path: Path) -> None:
    """The user may declare a folder within the archive's."""
    trees.imagenet_kaggle(tmp_path)
    known = load(tmp_path).fingerprints
    (tmp_path / "imagenet-1k/LOC_val_solution.csv").rename(tmp_path / "imagenet-1k" / inner / "LOC_val_solution.csv")
    declared = DataLocations(tmp_path, {"imagenet-1k": tmp_path / "imagenet-1k" / inner})
    assert load_imagenet_1k(declared).fingerprints == known


def test_a_stray_image_beside_class_folders(imagenet: Path) -> None:
    """It is passed by, and does not make val a flat one."""
    known = load(imagenet.parent).fingerprints
    write_noise_image(imagenet / "val/sheet.jpg")
    assert load(imagenet.parent).fingerprints == known


def test_a_flat_val_needs_labels(tmp_path: Path) -> None:
    """Neither the devkit nor the CSV: both are named."""
    trees.imagenet_flat(tmp_path)
    with pytest.raises(BobError, match=r"LOC_val_solution.csv nor the devkit's ILSVRC2012_validation_ground_truth.txt"):
        load(tmp_path)


@pytest.mark.parametrize("layout", FLAT.values(), ids=FLAT)
def test_labels_out_of_step_with_the_images(layout: Callable[[Path], None], tmp_path: Path) -> None:
    """An image without a label and a label without an image are counted and named."""
    layout(tmp_path)
    image = next((tmp_path / "imagenet-1k").rglob("ILSVRC2012_val_00000005.JPEG"))
    moved = image.rename(tmp_path / "away.JPEG")
    with pytest.raises(BobError, match=r"1 images that .* labels are not in .*: ILSVRC2012_val_00000005;"):
        load(tmp_path)
    moved.rename(image)
    write_noise_image(image.with_name("ILSVRC2012_val_00000013.JPEG"))
    with pytest.raises(BobError, match=r"1 images of .* have no label in .*: ILSVRC2012_val_00000013;"):
        load(tmp_path)


def test_labels_of_an_unknown_class(tmp_path: Path) -> None:
    """A WordNet id that train has not, and an id that meta.mat has not, with its line."""
    trees.imagenet_devkit(tmp_path)
    truth = next(tmp_path.rglob("ILSVRC2012_validation_ground_truth.txt"))
    lines = truth.read_text().split()
    truth.write_text("\n".join([*lines[:4], "77", *lines[5:]]))
    with pytest.raises(BobError, match=r"ground_truth.txt, line 5: '77' is not an ILSVRC2012_ID"):
        load(tmp_path)
    truth.write_text("\n".join([*lines[:4], "1001", *lines[5:]]))
    with pytest.raises(BobError, match=r"1 classes of .* are not among the 3 of train: n00001740"):
        load(tmp_path)
    next(tmp_path.rglob("meta.mat")).write_bytes(b"no mat file")
    with pytest.raises(BobError, match=r"meta.mat cannot be read"):
        load(tmp_path)


def test_a_bad_row_of_the_solution(tmp_path: Path) -> None:
    """The file and the row are named."""
    trees.imagenet_kaggle(tmp_path)
    path = tmp_path / "imagenet-1k/LOC_val_solution.csv"
    path.write_text(path.read_text().replace("ILSVRC2012_val_00000011,", "ILSVRC2012_val_00000011;"))
    with pytest.raises(BobError, match=r"LOC_val_solution.csv, row 3: not a name"):
        load(tmp_path)


def test_a_missing_role_is_named(imagenet: Path) -> None:
    """Val or train."""
    for role in ("val", "train"):
        shutil.rmtree(imagenet / role)
        with pytest.raises(BobError, match=f"imagenet-1k: no folder {role} in"):
            load(imagenet.parent)


def test_a_class_of_val_that_train_has_not(imagenet: Path) -> None:
    """It is named."""
    write_class_folders(imagenet / "val", ["n09999999"], 1)
    with pytest.raises(BobError, match=r"imagenet-1k val: 1 of 4 class folders .* n09999999"):
        load(imagenet.parent)


def test_subsets_are_the_published_lists(imagenet: Path) -> None:
    """Indices into train, sorted; none without the lists; beside train they count as well."""
    found = load(imagenet.parent)
    assert set(found.subsets) == {"1%", "10%"}
    one, ten = ([found["train"].ids[i] for i in found.subsets[name]] for name in ("1%", "10%"))
    assert one == [f"{wnid}/{wnid}_0.JPEG" for wnid in WNIDS]
    assert ten == [f"{wnid}/{wnid}_{i}.JPEG" for wnid in WNIDS for i in (0, 1)]
    (imagenet / "imagenet_subsets/1percent.txt").rename(imagenet / "1percent.txt")
    (imagenet / "imagenet_subsets/10percent.txt").unlink()
    again = load(imagenet.parent)
    assert list(again.subsets) == ["1%"]
    assert again.subsets["1%"].tolist() == found.subsets["1%"].tolist()
    (imagenet / "1percent.txt").unlink()
    assert load(imagenet.parent).subsets == {}


def test_a_list_out_of_step_with_train(imagenet: Path) -> None:
    """Missing files are counted and named; a list of none is an error."""
    path = imagenet / "imagenet_subsets/10percent.txt"
    path.write_text(f"{path.read_text()}{WNIDS[0]}_98.JPEG\n{WNIDS[0]}_99.JPEG\n")
    with pytest.raises(BobError, match=rf"2 of the 8 images of .*10percent.txt are not in train: {WNIDS[0]}_98.JPEG"):
        load(imagenet.parent)
    path.write_text("\n")
    with pytest.raises(BobError, match=r"10percent.txt lists no image"):
        load(imagenet.parent)


SHIFTED = {
    "imagenet-a": (load_imagenet_a, [1] * 4 + [2] * 4, (1, 2)),
    "imagenet-r": (load_imagenet_r, [0] * 4 + [1] * 4, (0, 1)),
    "imagenet-v2": (load_imagenet_v2, [0] * 3 + [1] * 3 + [2] * 3, None),
    "imagenet-sketch": (load_imagenet_sketch, [0] * 3 + [1] * 3 + [2] * 3, None),
}


@pytest.mark.parametrize("name", SHIFTED)
def test_a_shifted_set_trains_on_imagenet(name: str, imagenet: Path) -> None:
    """Train and source are ImageNet-1k's own splits; test has its class indices; -A and -R restrict the classes."""
    trees.TREES[name](imagenet.parent)
    read, targets, restricted = SHIFTED[name]
    known, found = load(imagenet.parent), read(DataLocations(imagenet.parent))
    assert found["train"].fingerprint == known["train"].fingerprint
    assert found["source"].fingerprint == known["test"].fingerprint
    assert found["source"].ids == known["test"].ids
    assert found.classes == WNIDS
    assert found["test"].targets.tolist() == targets
    assert found.restricted_classes == restricted


@pytest.mark.parametrize("name", SHIFTED)
def test_a_shifted_set_needs_imagenet(name: str, tmp_path: Path) -> None:
    """The reason names which of the two is absent."""
    trees.TREES[name](tmp_path)
    with pytest.raises(MissingError, match=f"{name} needs ImageNet-1k too: imagenet-1k is not in"):
        SHIFTED[name][0](DataLocations(tmp_path))


@pytest.mark.parametrize("names", [("0000", "0001", "0002"), WNIDS], ids=["padded", "wnids"])
def test_v2_folders_by_any_name_are_the_same_split(names: tuple[str, ...], imagenet: Path, tmp_path: Path) -> None:
    """Unpadded, padded and WordNet ids: equal ids, targets and, where the files are equal, fingerprints."""
    trees.imagenet_v2(imagenet.parent)
    known = load_imagenet_v2(DataLocations(imagenet.parent))
    folder = imagenet.parent / "imagenet-v2/imagenetv2-matched-frequency-format-val"
    for number, name in enumerate(names):
        (folder / str(number)).rename(folder / name)
    found = load_imagenet_v2(DataLocations(imagenet.parent))
    assert found["test"].ids[3] == f"{WNIDS[1]}/0.jpeg"
    assert found["test"].ids == known["test"].ids
    assert found.fingerprints == known.fingerprints


def test_v2_folders_sort_as_numbers(tmp_path: Path) -> None:
    """Folder 10 is the class after folder 9, not after folder 1."""
    wnids = [f"n{number:08}" for number in range(12)]
    for role in ("train", "val"):
        write_class_folders(tmp_path / "imagenet-1k" / role, wnids, 1)
    for number in range(12):
        path = tmp_path / "imagenet-v2" / str(number) / "a.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    test = load_imagenet_v2(DataLocations(tmp_path))["test"]
    assert test.targets.tolist() == list(range(12))
    assert [test.image(i).getpixel((0, 0)) for i in range(12)] == [(number, 0, 0) for number in range(12)]


def test_folders_of_no_class(imagenet: Path) -> None:
    """A number beyond the classes, an unknown WordNet id, and two folders of one class are errors."""
    root = imagenet.parent
    trees.imagenet_v2(root, ("0", "1", "3"))
    with pytest.raises(BobError, match=r"imagenet-v2: folder 3 is not a class of imagenet-1k \(3 classes\)"):
        load_imagenet_v2(DataLocations(root))
    shutil.rmtree(root / "imagenet-v2")
    trees.imagenet_v2(root, ("1", "01"))
    with pytest.raises(BobError, match="imagenet-v2: folder 01 is the same class as another folder"):
        load_imagenet_v2(DataLocations(root))
    write_class_folders(root / "imagenet-r", [*WNIDS, "n09999999"], 1)
    with pytest.raises(BobError, match="imagenet-r: folder n09999999 is not a class of"):
        load_imagenet_r(DataLocations(root))


def test_the_whole_imagenet_asks_for_whole_test_sets(imagenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside 1,000 classes, an ImageNet-A of two is damaged."""
    trees.imagenet_a(imagenet.parent)
    known = load(imagenet.parent)
    classes = (*WNIDS, *(f"n1{number:07}" for number in range(997)))
    whole = Dataset("imagenet-1k", known.splits, classes)
    monkeypatch.setattr(shifted, "load_imagenet_1k", lambda locations: whole)
    with pytest.raises(BobError, match=r"imagenet-a: 2 class folders in .* instead of 200"):
        load_imagenet_a(DataLocations(imagenet.parent))

"""Tests of `imagenet-1k` in every layout, its subsets, and the test sets that share its training data."""

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

FLAT_LAYOUTS = {"devkit": trees.imagenet_devkit, "kaggle": trees.imagenet_kaggle}


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Folder of a small ImageNet-1k, below a data root."""
    trees.imagenet(tmp_path)
    return tmp_path / "imagenet-1k"


def load(root: Path) -> Dataset:
    """Load ImageNet-1k from a data root."""
    return load_imagenet_1k(DataLocations(root))


def test_class_folders_are_classes(imagenet: Path) -> None:
    """Images are labelled by their folders, and classes are the sorted WordNet ids."""
    dataset = load(imagenet.parent)
    assert dataset.classes == WNIDS
    assert np.bincount(dataset["train"].targets).tolist() == [8, 8, 8]
    assert dataset["train"].ids[8] == f"{WNIDS[1]}/{WNIDS[1]}_0.JPEG"
    # image k of val is of class k mod 3 in dataset_trees.py
    numbers = [int(name[-13:-5]) for name in dataset["test"].ids]
    assert dataset["test"].targets.tolist() == [n % 3 for n in numbers]
    assert sorted(numbers) == list(range(1, 13))


@pytest.mark.parametrize("layout", FLAT_LAYOUTS.values(), ids=FLAT_LAYOUTS)
def test_a_flat_val_is_the_same_split(layout: Callable[[Path], None], imagenet: Path, tmp_path: Path) -> None:
    """With labels of the devkit or of Kaggle, ids, targets, pixels and fingerprints equal those of class folders."""
    layout(tmp_path / "flat")
    for path in (imagenet / "val").rglob("*.JPEG"):
        (flat_path,) = (tmp_path / "flat").rglob(path.name)
        shutil.copy(path, flat_path)
    flat, foldered = load(tmp_path / "flat"), load(imagenet.parent)
    assert flat["test"].ids == foldered["test"].ids
    assert flat["test"].targets.tolist() == foldered["test"].targets.tolist()
    assert flat.fingerprints == foldered.fingerprints
    assert [flat["test"].image(i).tobytes() for i in range(12)] == [
        foldered["test"].image(i).tobytes() for i in range(12)
    ]


@pytest.mark.parametrize("inner", ["ILSVRC", "ILSVRC/Data/CLS-LOC"])
def test_the_folder_may_be_inside_kaggles_archive(inner: str, tmp_path: Path) -> None:
    """A declared folder inside the archive gives the same fingerprints."""
    trees.imagenet_kaggle(tmp_path)
    expected = load(tmp_path).fingerprints
    (tmp_path / "imagenet-1k/LOC_val_solution.csv").rename(tmp_path / "imagenet-1k" / inner / "LOC_val_solution.csv")
    declared = DataLocations(tmp_path, {"imagenet-1k": tmp_path / "imagenet-1k" / inner})
    assert load_imagenet_1k(declared).fingerprints == expected


def test_a_stray_image_beside_class_folders(imagenet: Path) -> None:
    """An image beside the class folders of val is ignored."""
    expected = load(imagenet.parent).fingerprints
    write_noise_image(imagenet / "val/sheet.jpg")
    assert load(imagenet.parent).fingerprints == expected


def test_a_flat_val_needs_labels(tmp_path: Path) -> None:
    """A flat val without labels raises an error that names both files that could have them."""
    trees.imagenet_flat(tmp_path)
    with pytest.raises(BobError, match=r"LOC_val_solution.csv nor the devkit's ILSVRC2012_validation_ground_truth.txt"):
        load(tmp_path)


@pytest.mark.parametrize("layout", FLAT_LAYOUTS.values(), ids=FLAT_LAYOUTS)
def test_labels_that_disagree_with_the_images(layout: Callable[[Path], None], tmp_path: Path) -> None:
    """The error counts and names images without a label, and labels without an image."""
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
    """The error names a class that train lacks, an id that meta.mat lacks with its line, and a broken meta.mat."""
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
    """The error names the file and the row."""
    trees.imagenet_kaggle(tmp_path)
    path = tmp_path / "imagenet-1k/LOC_val_solution.csv"
    path.write_text(path.read_text().replace("ILSVRC2012_val_00000011,", "ILSVRC2012_val_00000011;"))
    with pytest.raises(BobError, match=r"LOC_val_solution.csv, row 3: not a name"):
        load(tmp_path)


def test_a_missing_role_is_named(imagenet: Path) -> None:
    """The error names the missing folder, val or train."""
    for role in ("val", "train"):
        shutil.rmtree(imagenet / role)
        with pytest.raises(BobError, match=f"imagenet-1k: no folder {role} in"):
            load(imagenet.parent)


def test_a_class_of_val_that_train_lacks(imagenet: Path) -> None:
    """The error names the class."""
    write_class_folders(imagenet / "val", ["n09999999"], 1)
    with pytest.raises(BobError, match=r"imagenet-1k val: 1 of 4 class folders .* n09999999"):
        load(imagenet.parent)


def test_subsets_are_the_published_lists(imagenet: Path) -> None:
    """Subsets are sorted indices into train, from lists in either folder, and there are none without lists."""
    dataset = load(imagenet.parent)
    assert set(dataset.subsets) == {"1%", "10%"}
    one_percent, ten_percent = ([dataset["train"].ids[i] for i in dataset.subsets[name]] for name in ("1%", "10%"))
    assert one_percent == [f"{wnid}/{wnid}_0.JPEG" for wnid in WNIDS]
    assert ten_percent == [f"{wnid}/{wnid}_{i}.JPEG" for wnid in WNIDS for i in (0, 1)]
    (imagenet / "imagenet_subsets/1percent.txt").rename(imagenet / "1percent.txt")
    (imagenet / "imagenet_subsets/10percent.txt").unlink()
    changed = load(imagenet.parent)
    assert list(changed.subsets) == ["1%"]
    assert changed.subsets["1%"].tolist() == dataset.subsets["1%"].tolist()
    (imagenet / "1percent.txt").unlink()
    assert load(imagenet.parent).subsets == {}


def test_a_list_that_disagrees_with_train(imagenet: Path) -> None:
    """The error counts and names listed files that train lacks, and an empty list is an error."""
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
    """Train and source are splits of ImageNet-1k, test has its class indices, and -A and -R restrict the classes."""
    trees.TREES[name](imagenet.parent)
    load_shifted, targets, restricted_classes = SHIFTED[name]
    original, dataset = load(imagenet.parent), load_shifted(DataLocations(imagenet.parent))
    assert dataset["train"].fingerprint == original["train"].fingerprint
    assert dataset["source"].fingerprint == original["test"].fingerprint
    assert dataset["source"].ids == original["test"].ids
    assert dataset.classes == WNIDS
    assert dataset["test"].targets.tolist() == targets
    assert dataset.restricted_classes == restricted_classes


@pytest.mark.parametrize("name", SHIFTED)
def test_a_shifted_set_needs_imagenet(name: str, tmp_path: Path) -> None:
    """The error names the dataset and ImageNet-1k, which is missing."""
    trees.TREES[name](tmp_path)
    with pytest.raises(MissingError, match=f"{name} needs ImageNet-1k too: imagenet-1k is not in"):
        SHIFTED[name][0](DataLocations(tmp_path))


@pytest.mark.parametrize("names", [("0000", "0001", "0002"), WNIDS], ids=["padded", "wnids"])
def test_names_of_v2_folders_do_not_matter(names: tuple[str, ...], imagenet: Path, tmp_path: Path) -> None:
    """Folders named by numbers, padded numbers or WordNet ids give equal ids and fingerprints."""
    trees.imagenet_v2(imagenet.parent)
    unpadded = load_imagenet_v2(DataLocations(imagenet.parent))
    folder = imagenet.parent / "imagenet-v2/imagenetv2-matched-frequency-format-val"
    for number, name in enumerate(names):
        (folder / str(number)).rename(folder / name)
    renamed = load_imagenet_v2(DataLocations(imagenet.parent))
    assert renamed["test"].ids[3] == f"{WNIDS[1]}/0.jpeg"
    assert renamed["test"].ids == unpadded["test"].ids
    assert renamed.fingerprints == unpadded.fingerprints


def test_v2_folders_sort_as_numbers(tmp_path: Path) -> None:
    """Folder 10 is the class after folder 9, and not the one after folder 1."""
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
    """A number without a class, an unknown WordNet id, and two folders of one class are errors."""
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


def test_the_whole_imagenet_needs_whole_test_sets(imagenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 1,000 classes of ImageNet-1k, an ImageNet-A of two classes is an error."""
    trees.imagenet_a(imagenet.parent)
    small = load(imagenet.parent)
    classes = (*WNIDS, *(f"n1{number:07}" for number in range(997)))
    whole = Dataset("imagenet-1k", small.splits, classes)
    monkeypatch.setattr(shifted, "load_imagenet_1k", lambda locations: whole)
    with pytest.raises(BobError, match=r"imagenet-a: 2 class folders in .* instead of 200"):
        load_imagenet_a(DataLocations(imagenet.parent))

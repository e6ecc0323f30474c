"""`imagenet-1k`: train/WNID and val, in class folders or flat with the labels beside it."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.image_folders import (
    ImageFiles,
    images_in_class_folders,
    images_in_list,
    is_image,
    labelled_split,
)
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper.layout import first_file, lines_of, present, renamed, unpacked
from bob_gauntlet.errors import BobError, named

NAME = "imagenet-1k"

IMAGES = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC")
"""Folders below the dataset's own that may hold train and val; Kaggle's archive has the first."""

DEVKIT = ("", "ILSVRC2012_devkit_t12/data", "ILSVRC2012_devkit_t12", "devkit/data", "data")
"""Folders in which the ground truth and meta.mat are looked for."""

SOLUTION = "LOC_val_solution.csv"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"

LISTS = {"1%": "1percent.txt", "10%": "10percent.txt"}
"""Subset -> the file of SimCLR (github.com/google-research/simclr, imagenet_subsets) that lists its images."""


def load_imagenet_1k(locations: DataLocations) -> Dataset:
    """ImageNet-1k: `train`, and `test`, which is its val; classes are the sorted WordNet ids of train.

    A flat val gives the same split as one of class folders. `subsets` are SimCLR's lists where they are there.
    """
    root = present(NAME, locations)
    images = unpacked(root, *IMAGES)
    for folder in (images / "train", images / "val"):
        if not folder.is_dir():
            raise BobError(f"{NAME}: no folder {folder.name} in {images}; `bob data {NAME}` shows the layout")
    train = images_in_class_folders(images / "train", f"{NAME} train")
    splits = {
        "train": labelled_split("train", train),
        "test": labelled_split("test", _val(root, images / "val", train.classes)),
    }
    return Dataset(NAME, splits, classes=train.classes, subsets=_subsets(root, images, train.paths))


def _val(root: Path, folder: Path, classes: Sequence[str]) -> ImageFiles:
    """The validation images, labelled by their folders or, where there are none, by a list."""
    what = f"{NAME} val"
    flat = sorted(entry.name for entry in folder.iterdir() if is_image(entry.name))
    if not flat or any((folder / wnid).is_dir() for wnid in classes):
        return images_in_class_folders(folder, what, classes)
    source, wnids = _labels(root, folder)
    _check(f"images that {source} labels are not in {folder}", wnids.keys() - {Path(name).stem for name in flat})
    _check(f"images of {folder} have no label in {source}", {Path(name).stem for name in flat} - wnids.keys())
    _check(f"classes of {source} are not among the {len(classes)} of train", set(wnids.values()) - set(classes))
    index = {wnid: number for number, wnid in enumerate(classes)}
    paths = [f"{wnids[Path(name).stem]}/{name}" for name in flat]
    labels = np.array([index[wnids[Path(name).stem]] for name in flat], np.int64)
    return renamed(images_in_list(folder, what, flat, labels, classes), paths, labels, classes)


def _check(problem: str, names: set[str]) -> None:
    """BobError that counts and names what a list and a folder do not share."""
    if names:
        raise BobError(f"{NAME}: {len(names)} {problem}: {named(sorted(names))}; get both from one source")


def _labels(root: Path, folder: Path) -> tuple[Path, dict[str, str]]:
    """The file that labels a flat val, and image name without its ending -> WordNet id."""
    near = (root, folder.parent, folder)
    if solution := first_file((*near, root / "ILSVRC", root.parent), SOLUTION):
        return solution, _solution(solution)
    kits = [base / inner for base in near for inner in DEVKIT]
    truth, meta = first_file(kits, TRUTH), first_file(kits, "meta.mat")
    if truth and meta:
        return truth, _ground_truth(truth, meta)
    raise BobError(
        f"{NAME}: {folder} holds images without class folders, and {root} neither {SOLUTION} nor the devkit's {TRUTH} "
        "with meta.mat; put one of them there"
    )


def _solution(path: Path) -> dict[str, str]:
    """Kaggle's CSV: the image's name, then its WordNet id and boxes."""
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if row][1:]
    for number, row in enumerate(rows, 2):
        if len(row) != 2 or not row[1].split():
            raise BobError(f"{path}, row {number}: not a name and a prediction string; get the file anew")
    return {name: prediction.split()[0] for name, prediction in rows}


def _ground_truth(path: Path, meta: Path) -> dict[str, str]:
    """The devkit's ground truth: line k is the ILSVRC2012_ID of image k; meta.mat gives its WordNet id."""
    wnids = _synsets(meta)
    labels = {}
    for number, line in enumerate(lines_of(path), 1):
        if line not in wnids:
            raise BobError(f"{path}, line {number}: {line!r} is no ILSVRC2012_ID of {meta}; get the devkit anew")
        labels[f"ILSVRC2012_val_{number:08}"] = wnids[line]
    return labels


def _synsets(meta: Path) -> dict[str, str]:
    """ILSVRC2012_ID, as text -> WordNet id."""
    try:
        rows = loadmat(meta, squeeze_me=True)["synsets"]
        return {str(int(row["ILSVRC2012_ID"])): str(row["WNID"]) for row in np.atleast_1d(rows)}
    except (OSError, KeyError, ValueError, TypeError, IndexError, MatReadError) as error:
        raise BobError(f"{meta} cannot be read ({error}); get the devkit anew") from error


def _subsets(root: Path, images: Path, paths: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Subset -> indices into train, of the lists that lie in the dataset's folder or in its imagenet_subsets."""
    folders = [base / inner for base in (root, images) for inner in ("", "imagenet_subsets")]
    found = {name: first_file(folders, file) for name, file in LISTS.items()}
    index = {path.rpartition("/")[2]: number for number, path in enumerate(paths)} if any(found.values()) else {}
    return {name: _indices(path, index) for name, path in found.items() if path}


def _indices(path: Path, index: Mapping[str, int]) -> np.ndarray:
    """The positions of the listed files in train, sorted."""
    names = {line.rpartition("/")[2] for line in lines_of(path)}
    if not names:
        raise BobError(f"{path} lists no image; get it anew")
    _check(f"of the {len(names)} images of {path} are not in train", names - index.keys())
    return np.array(sorted(index[name] for name in names), np.int64)

"""The dataset `imagenet-1k`: train in class folders, and val in class folders or flat with a file of labels."""

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
from bob_gauntlet.datasets.paper.layout import first_file, inner_folder, read_lines, relabel_files, require_folder
from bob_gauntlet.errors import BobError, named

NAME = "imagenet-1k"

IMAGE_FOLDERS = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC")
"""Folders inside the folder of the dataset that may hold train and val; Kaggle's archive has the first of them."""

DEVKIT_FOLDERS = ("", "ILSVRC2012_devkit_t12/data", "ILSVRC2012_devkit_t12", "devkit/data", "data")
"""Folders in which the ground truth and meta.mat are looked for."""

SOLUTION = "LOC_val_solution.csv"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"

SUBSET_LISTS = {"1%": "1percent.txt", "10%": "10percent.txt"}
"""Subset -> file of SimCLR (github.com/google-research/simclr, imagenet_subsets) that lists its images."""


def load_imagenet_1k(locations: DataLocations) -> Dataset:
    """Load ImageNet-1k: `train`, and `test`, which is its val; classes are the sorted WordNet ids of train.

    A flat val gives the same split as a val in class folders. `subsets` are read from SimCLR's lists if they exist.
    """
    root = require_folder(NAME, locations)
    images = inner_folder(root, *IMAGE_FOLDERS)
    for folder in (images / "train", images / "val"):
        if not folder.is_dir():
            raise BobError(f"{NAME}: no folder {folder.name} in {images}; `bob data {NAME}` shows the layout")
    train = images_in_class_folders(images / "train", f"{NAME} train")
    splits = {
        role: labelled_split(role, files, hashes=locations.hashes)
        for role, files in (("train", train), ("test", _validation_files(root, images / "val", train.classes)))
    }
    return Dataset(NAME, splits, classes=train.classes, subsets=_read_subsets(root, images, train.paths))


def _validation_files(root: Path, folder: Path, classes: Sequence[str]) -> ImageFiles:
    """Return the validation images, labelled by their class folders, or by a file where there are no such folders."""
    what = f"{NAME} val"
    flat = sorted(entry.name for entry in folder.iterdir() if is_image(entry.name))
    if not flat or any((folder / wnid).is_dir() for wnid in classes):
        return images_in_class_folders(folder, what, classes)
    source, wnids = _read_labels(root, folder)
    _raise_if_any(f"images that {source} labels are not in {folder}", wnids.keys() - {Path(name).stem for name in flat})
    _raise_if_any(f"images of {folder} have no label in {source}", {Path(name).stem for name in flat} - wnids.keys())
    _raise_if_any(f"classes of {source} are not among the {len(classes)} of train", set(wnids.values()) - set(classes))
    index = {wnid: number for number, wnid in enumerate(classes)}
    paths = [f"{wnids[Path(name).stem]}/{name}" for name in flat]
    labels = np.array([index[wnids[Path(name).stem]] for name in flat], np.int64)
    return relabel_files(images_in_list(folder, what, flat, labels, classes), paths, labels, classes)


def _raise_if_any(problem: str, names: set[str]) -> None:
    """Raise BobError with the problem and the number of names, unless there are none."""
    if names:
        raise BobError(f"{NAME}: {len(names)} {problem}: {named(sorted(names))}; get both from one source")


def _read_labels(root: Path, folder: Path) -> tuple[Path, dict[str, str]]:
    """Return the file that labels a flat val, and the WordNet id by image name without its extension.

    The file is Kaggle's CSV, or the devkit's ground truth. Raises BobError where there is neither.
    """
    search_folders = (root, folder.parent, folder)
    if solution := first_file((*search_folders, root / "ILSVRC", root.parent), SOLUTION):
        return solution, _read_kaggle_labels(solution)
    devkits = [base / inner for base in search_folders for inner in DEVKIT_FOLDERS]
    truth, meta = first_file(devkits, TRUTH), first_file(devkits, "meta.mat")
    if truth and meta:
        return truth, _read_devkit_labels(truth, meta)
    raise BobError(
        f"{NAME}: {folder} has images without class folders, and {root} has neither {SOLUTION} nor "
        f"the devkit's {TRUTH} with meta.mat; put one of them there"
    )


def _read_kaggle_labels(path: Path) -> dict[str, str]:
    """Return the WordNet id of each image in Kaggle's CSV; its rows are an image name, and a WordNet id with boxes."""
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if row][1:]
    for number, row in enumerate(rows, 2):
        if len(row) != 2 or not row[1].split():
            raise BobError(f"{path}, row {number}: not a name and a prediction string; get the file again")
    return {name: prediction.split()[0] for name, prediction in rows}


def _read_devkit_labels(path: Path, meta: Path) -> dict[str, str]:
    """Return the WordNet id of each image in the devkit's ground truth.

    Line k is the ILSVRC2012_ID of image k, and meta.mat gives the WordNet id of each ILSVRC2012_ID.
    """
    wnids = _read_synsets(meta)
    labels = {}
    for number, line in enumerate(read_lines(path), 1):
        if line not in wnids:
            raise BobError(f"{path}, line {number}: {line!r} is not an ILSVRC2012_ID of {meta}; get the devkit again")
        labels[f"ILSVRC2012_val_{number:08}"] = wnids[line]
    return labels


def _read_synsets(meta: Path) -> dict[str, str]:
    """Return the WordNet id of each ILSVRC2012_ID, which is text, from meta.mat."""
    try:
        rows = loadmat(meta, squeeze_me=True)["synsets"]
        return {str(int(row["ILSVRC2012_ID"])): str(row["WNID"]) for row in np.atleast_1d(rows)}
    except (OSError, KeyError, ValueError, TypeError, IndexError, MatReadError) as error:
        raise BobError(f"{meta} cannot be read ({error}); get the devkit again") from error


def _read_subsets(root: Path, images: Path, paths: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Return indices into train by subset, from lists in the folder of the dataset or in imagenet_subsets inside it."""
    folders = [base / inner for base in (root, images) for inner in ("", "imagenet_subsets")]
    lists = {subset: path for subset, file in SUBSET_LISTS.items() if (path := first_file(folders, file))}
    index = {path.rpartition("/")[2]: number for number, path in enumerate(paths)} if lists else {}
    return {subset: _read_indices(path, index) for subset, path in lists.items()}


def _read_indices(path: Path, index: Mapping[str, int]) -> np.ndarray:
    """Return the sorted indices of the listed files in train; BobError where a file is not in train."""
    names = {line.rpartition("/")[2] for line in read_lines(path)}
    if not names:
        raise BobError(f"{path} lists no image; get it again")
    _raise_if_any(f"of the {len(names)} images of {path} are not in train", names - index.keys())
    return np.array(sorted(index[name] for name in names), np.int64)

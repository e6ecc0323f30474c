"""The datasets `cifar-100`, `flowers-102`, `fgvc-aircraft` and `eurosat`, which torchvision reads and downloads.

They are downloaded only if the user allows it. Each of them is also read from class folders in train/, val/ and test/.
The paper evaluated all of them except CIFAR-100 on val.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image
from torchvision.datasets import CIFAR100, EuroSAT, FGVCAircraft, Flowers102

from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.file_hashes import FileHashes
from bob_gauntlet.datasets.hash_log import DIGEST_BYTES
from bob_gauntlet.datasets.image_folders import (
    ImageFiles,
    images_in_class_folders,
    images_in_list,
    is_nonempty_folder,
    labelled_split,
)
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper.layout import first_file, inner_folder, require_folder, select_files, shuffle_by_class
from bob_gauntlet.errors import BobError

ROLES = ("train", "val", "test")

COOP_SPLITS = ("split_zhou_EuroSAT.json", "eurosat_split.json")
"""File names of CoOp's split of EuroSAT: {"train": [[path, label, name], ...], "val": ..., "test": ...}."""

TRAIN_SHARE, VAL_SHARE = 0.5, 0.2
"""Shares of each class of EuroSAT without a file of CoOp's split, equal to those of that file; test is the rest."""

TENTH = 0.1
"""Share of EuroSAT's train split that the paper trains on."""


def load_cifar_100(locations: DataLocations) -> Dataset:
    """Load CIFAR-100: 50,000 train and 10,000 test images of 32 x 32 pixels; ids are numbers."""
    root = _require_or_download("cifar-100", locations, lambda folder: CIFAR100(folder, download=True))
    if _has_role_folders(root):
        return _build_dataset("cifar-100", locations.hashes, _read_role_folders("cifar-100", root))
    official = _read_official("cifar-100", root, CIFAR100.base_folder, ("train", "test"), _read_cifar)
    splits = {
        role: _split_in_memory(role, part.data, np.array(part.targets, np.int64)) for role, part in official.items()
    }
    return Dataset("cifar-100", splits, classes=tuple(official["train"].classes))


def _read_cifar(folder: Path, role: str) -> CIFAR100:
    """Read one role of CIFAR-100 with torchvision."""
    return CIFAR100(folder, train=role == "train")


def _split_in_memory(role: str, images: np.ndarray, labels: np.ndarray) -> Split:
    """Return a split of (N, H, W, 3) images that are held in memory; fingerprint and contents cover every pixel."""
    sha = hashlib.sha256(f"{role}:{images.shape}".encode())
    sha.update(np.ascontiguousarray(images).data)
    sha.update(labels.astype("<i8").tobytes())
    ids = tuple(f"{role}-{i:05}" for i in range(len(labels)))
    contents = np.frombuffer(
        b"".join(hashlib.sha256(image.tobytes()).digest()[:DIGEST_BYTES] for image in images), np.uint8
    ).reshape(-1, DIGEST_BYTES)
    return Split(role, sha.hexdigest()[:16], ids, labels, lambda i: Image.fromarray(images[i]), ids, contents=contents)


def load_flowers_102(locations: DataLocations) -> Dataset:
    """Load Flowers-102: 1,020 train, 1,020 val and 6,149 test images; classes are the publisher's numbers from 1."""
    root = _require_or_download("flowers-102", locations, lambda folder: Flowers102(folder, download=True))
    if _has_role_folders(root):
        return _build_dataset("flowers-102", locations.hashes, _read_role_folders("flowers-102", root), "val")
    official = _read_official("flowers-102", root, "flowers-102", ROLES, Flowers102)
    count = 1 + max(max(part._labels) for part in official.values())
    classes = [str(number) for number in range(1, count + 1)]
    files = {role: _image_files(role, part, classes) for role, part in official.items()}
    return _build_dataset("flowers-102", locations.hashes, files, "val")


def load_fgvc_aircraft(locations: DataLocations) -> Dataset:
    """Load FGVC-Aircraft with variants as classes: 3,334 train, 3,333 val and 3,333 test images."""
    root = _require_or_download("fgvc-aircraft", locations, lambda folder: FGVCAircraft(folder, download=True))
    if _has_role_folders(root):
        return _build_dataset("fgvc-aircraft", locations.hashes, _read_role_folders("fgvc-aircraft", root), "val")
    official = _read_official("fgvc-aircraft", root, "fgvc-aircraft-2013b", ROLES, FGVCAircraft)
    files = {role: _image_files(role, part, part.classes) for role, part in official.items()}
    return _build_dataset("fgvc-aircraft", locations.hashes, files, "val")


def _image_files(role: str, official: Any, classes: Sequence[str]) -> ImageFiles:
    """Return the image files and labels of a torchvision dataset, all of whose images are in one folder."""
    paths = [Path(path) for path in official._image_files]
    if not paths:
        raise BobError(f"{official.root}: no images in its list of {role}; get the dataset again")
    what, labels = f"{role} of {official.root}", np.array(official._labels)
    return images_in_list(paths[0].parent, what, [path.name for path in paths], labels, classes)


def load_eurosat(locations: DataLocations) -> Dataset:
    """Load EuroSAT in RGB, split as in CoOp where CoOp's JSON file is beside the images or above them.

    Without that file, `random.Random(0)` divides each class, sorted by path, into 50% train, 20% val and 30% test.
    As in the paper, each of the C classes then keeps int(0.1 N / C) of the N images of train, but at least one, drawn
    with `random.Random(0)`.
    """
    root = _require_or_download("eurosat", locations, lambda folder: EuroSAT(folder, download=True))
    if _has_role_folders(root):
        files = _read_role_folders("eurosat", root)
        return _build_dataset("eurosat", locations.hashes, {**files, "train": _keep_tenth(files["train"])}, "val")
    images = inner_folder(root, "eurosat/2750", "EuroSAT/2750", "2750", "EuroSAT_RGB", "EuroSAT")
    coop_splits = [path for name in COOP_SPLITS if (path := first_file((images, images.parent, root), name))]
    if coop_splits:
        return _build_dataset("eurosat", locations.hashes, _read_coop_split(images, coop_splits[0]), "val")
    files = _divide(images_in_class_folders(images, "eurosat"))
    return _build_dataset("eurosat", locations.hashes, {**files, "train": _keep_tenth(files["train"])}, "val")


def _divide(files: ImageFiles) -> dict[str, ImageFiles]:
    """Divide the images of each class into train, val and test; BobError where a class has fewer than four."""
    indices_by_role: dict[str, list[int]] = {role: [] for role in ROLES}
    for indices in shuffle_by_class(files.labels):
        if len(indices) < 4:
            folder = files.classes[files.labels[indices[0]]]
            raise BobError(f"eurosat: {len(indices)} images in class folder {folder} are too few; get it again")
        end_train, end_val = round(len(indices) * TRAIN_SHARE), round(len(indices) * (TRAIN_SHARE + VAL_SHARE))
        parts = (indices[:end_train], indices[end_train:end_val], indices[end_val:])
        for role, part in zip(indices_by_role, parts, strict=True):
            indices_by_role[role] += part
    return {role: select_files(files, indices) for role, indices in indices_by_role.items()}


def _keep_tenth(files: ImageFiles) -> ImageFiles:
    """Return the tenth of a train split that is trained on."""
    return select_files(files, _indices_of_tenth(files.labels))


def _indices_of_tenth(labels: np.ndarray) -> list[int]:
    """Return the sorted indices of int(0.1 N / C) of N examples for each of C classes, but at least one.

    >>> _indices_of_tenth(np.repeat([0, 1], 20))
    [12, 13, 32, 33]
    """
    indices_by_class = shuffle_by_class(labels)
    count = max(1, int(len(labels) * TENTH / len(indices_by_class)))
    return sorted(i for indices in indices_by_class for i in indices[:count])


def _read_coop_split(images: Path, path: Path) -> dict[str, ImageFiles]:
    """Return the files of each role of CoOp's JSON file.

    The tenth of train is drawn in the order of the file, as in the paper's code.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        entries = {role: [(str(p), int(n), str(c)) for p, n, c in rows] for role, rows in content.items()}
        entries = {role: entries[role] for role in ROLES}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BobError(
            f"{path} is not {{train, val, test: [[path, label, name], ...]}} ({error}); get it again"
        ) from error
    names = {label: name for rows in entries.values() for _, label, name in rows}
    if sorted(names) != list(range(len(names))) or len(names) < 2:
        raise BobError(f"{path}: its labels are not 0, 1, ... without gaps: {sorted(names)}; get it again")
    train = entries["train"]
    entries["train"] = [train[i] for i in _indices_of_tenth(np.array([label for _, label, _ in train]))]
    classes = [names[label] for label in sorted(names)]
    return {
        role: images_in_list(
            images, f"eurosat {role}", [p for p, _, _ in rows], np.array([n for _, n, _ in rows]), classes
        )
        for role, rows in entries.items()
    }


def _has_role_folders(root: Path) -> bool:
    """Return whether the folder contains train, and val or test."""
    return (root / "train").is_dir() and ((root / "val").is_dir() or (root / "test").is_dir())


def _read_role_folders(name: str, root: Path) -> dict[str, ImageFiles]:
    """Return the images in the class folders of train, test and, if it exists, val; train defines the classes."""
    train = images_in_class_folders(root / "train", f"{name} train")
    others = [role for role in ("val", "test") if role == "test" or (root / role).is_dir()]
    return {"train": train} | {
        role: images_in_class_folders(root / role, f"{name} {role}", train.classes) for role in others
    }


def _build_dataset(
    name: str, hashes: FileHashes, files_by_role: Mapping[str, ImageFiles], paper_role: str = "test"
) -> Dataset:
    """Return a dataset of these roles; `paper_role` becomes test where the role that the paper used is missing."""
    splits = {role: labelled_split(role, files, hashes=hashes) for role, files in files_by_role.items()}
    classes = files_by_role["train"].classes
    return Dataset(name, splits, classes, paper_role=paper_role if paper_role in splits else "test")


def _require_or_download(name: str, locations: DataLocations, download: Callable[[Path], Any]) -> Path:
    """Return the folder of a dataset; a missing dataset is downloaded if the user allows it.

    It is downloaded into a temporary folder, which is renamed when it is complete; a second process waits.
    Raises MissingError where the dataset is missing and must not be downloaded, and BobError where a download fails.
    """
    root = locations.folder_of(name)
    if is_nonempty_folder(root) or not locations.download:
        return require_folder(name, locations)
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_name(f".{root.name}.lock")):
        if not is_nonempty_folder(root):
            part = root.with_name(f".{root.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            try:
                download(part)
                part.rename(root)
            except (OSError, RuntimeError, ValueError, EOFError) as error:
                raise BobError(f"cannot download {name} to {root} ({error}); try again, or copy it there") from error
    return root


def _read_official(
    name: str, root: Path, folder: str, roles: Sequence[str], read: Callable[[Path, str], Any]
) -> dict[str, Any]:
    """Return what torchvision reads for each role from the publisher's `folder`, which is inside `root` or is `root`.

    Raises BobError where there is no such folder, or torchvision cannot read it.
    """
    parent = root if (root / folder).is_dir() else root.parent
    if parent != root and root.name != folder:
        problem = f"{root} has neither {folder} nor train and test"
        raise BobError(f"{name}: {problem}; rename the folder inside it, or see `bob data {name}`")
    try:
        return {role: read(parent, role) for role in roles}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise BobError(
            f"{name} in {parent / folder} is damaged, or not the publisher's data ({type(error).__name__}: {error}); "
            "remove the folder and get it again"
        ) from error

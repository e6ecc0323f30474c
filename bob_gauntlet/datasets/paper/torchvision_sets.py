"""`cifar-100`, `flowers-102`, `fgvc-aircraft` and `eurosat`: fetched, where the user allows it, by torchvision.

Each is also read from train/, val/ and test/ of class folders. The paper evaluated all but CIFAR-100 on val.
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
from bob_gauntlet.datasets.image_folders import (
    ImageFiles,
    images_in_class_folders,
    images_in_list,
    is_nonempty_folder,
    labelled_split,
)
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper.layout import first_file, present, shuffled, taken, unpacked
from bob_gauntlet.errors import BobError

ROLES = ("train", "val", "test")

SPLITS = ("split_zhou_EuroSAT.json", "eurosat_split.json")
"""Names of CoOp's split of EuroSAT: {"train": [[path, label, name], ...], "val": ..., "test": ...}."""

TRAIN, VAL = 0.5, 0.2
"""Shares of each class of EuroSAT where that file is not there, as in it; test takes the rest."""

TENTH = 0.1
"""Share of EuroSAT's train split that the paper trains on."""


def load_cifar_100(locations: DataLocations) -> Dataset:
    """CIFAR-100: 50,000 train and 10,000 test images of 32 x 32 pixels; ids are numbers."""
    root = _fetched("cifar-100", locations, lambda part: CIFAR100(part, download=True))
    if _by_role(root):
        return _dataset("cifar-100", _roles("cifar-100", root))
    read = _official("cifar-100", root, CIFAR100.base_folder, ("train", "test"), _cifar)
    splits = {role: _pixels(role, data.data, np.array(data.targets, np.int64)) for role, data in read.items()}
    return Dataset("cifar-100", splits, classes=tuple(read["train"].classes))


def _cifar(top: Path, role: str) -> CIFAR100:
    return CIFAR100(top, train=role == "train")


def _pixels(role: str, images: np.ndarray, labels: np.ndarray) -> Split:
    """A split of images (N, H, W, 3) in memory; the fingerprint covers every pixel."""
    sha = hashlib.sha256(f"{role}:{images.shape}".encode())
    sha.update(np.ascontiguousarray(images).data)
    sha.update(labels.astype("<i8").tobytes())
    ids = tuple(f"{role}-{i:05}" for i in range(len(labels)))
    return Split(role, sha.hexdigest()[:16], ids, labels, lambda i: Image.fromarray(images[i]), ids)


def load_flowers_102(locations: DataLocations) -> Dataset:
    """Flowers-102: 1,020 train, 1,020 val and 6,149 test images; classes are the publisher's numbers from 1."""
    root = _fetched("flowers-102", locations, lambda part: Flowers102(part, download=True))
    if _by_role(root):
        return _dataset("flowers-102", _roles("flowers-102", root), "val")
    read = _official("flowers-102", root, "flowers-102", ROLES, Flowers102)
    count = 1 + max(max(data._labels) for data in read.values())
    classes = [str(number) for number in range(1, count + 1)]
    return _dataset("flowers-102", {role: _files(role, data, classes) for role, data in read.items()}, "val")


def load_fgvc_aircraft(locations: DataLocations) -> Dataset:
    """FGVC-Aircraft by variant: 3,334 train, 3,333 val and 3,333 test images."""
    root = _fetched("fgvc-aircraft", locations, lambda part: FGVCAircraft(part, download=True))
    if _by_role(root):
        return _dataset("fgvc-aircraft", _roles("fgvc-aircraft", root), "val")
    read = _official("fgvc-aircraft", root, "fgvc-aircraft-2013b", ROLES, FGVCAircraft)
    parts = {role: _files(role, data, data.classes) for role, data in read.items()}
    return _dataset("fgvc-aircraft", parts, "val")


def _files(role: str, data: Any, classes: Sequence[str]) -> ImageFiles:
    """The image files and labels that a torchvision dataset holds; its images lie in one folder."""
    paths = [Path(path) for path in data._image_files]
    if not paths:
        raise BobError(f"{data.root}: no images in its list of {role}; get the dataset anew")
    return images_in_list(
        paths[0].parent, f"{role} of {data.root}", [p.name for p in paths], np.array(data._labels), classes
    )


def load_eurosat(locations: DataLocations) -> Dataset:
    """EuroSAT in RGB, split as in CoOp where its JSON file lies beside the images or above them.

    Without it, `random.Random(0)` divides each class, in the order of paths, into 50% train, 20% val and 30% test.
    Of train, as in the paper, each of C classes keeps int(0.1 N / C) images, at least one, drawn by `random.Random(0)`.
    """
    root = _fetched("eurosat", locations, lambda part: EuroSAT(part, download=True))
    if _by_role(root):
        parts = _roles("eurosat", root)
        return _dataset("eurosat", {**parts, "train": _tenth(parts["train"])}, "val")
    images = unpacked(root, "eurosat/2750", "EuroSAT/2750", "2750", "EuroSAT_RGB", "EuroSAT")
    found = [path for name in SPLITS if (path := first_file((images, images.parent, root), name))]
    if found:
        return _dataset("eurosat", _zhou(images, found[0]), "val")
    parts = _drawn(images_in_class_folders(images, "eurosat"))
    return _dataset("eurosat", {**parts, "train": _tenth(parts["train"])}, "val")


def _drawn(files: ImageFiles) -> dict[str, ImageFiles]:
    """Train, val and test of a tree that has no roles, class by class."""
    parts: dict[str, list[int]] = {role: [] for role in ROLES}
    for indices in shuffled(files.labels):
        if len(indices) < 4:
            few = files.classes[files.labels[indices[0]]]
            raise BobError(f"eurosat: {len(indices)} images in class folder {few}, too few to divide; get it anew")
        first, second = round(len(indices) * TRAIN), round(len(indices) * (TRAIN + VAL))
        for role, some in zip(parts, (indices[:first], indices[first:second], indices[second:]), strict=True):
            parts[role] += some
    return {role: taken(files, indices) for role, indices in parts.items()}


def _tenth(files: ImageFiles) -> ImageFiles:
    """The tenth of a train split."""
    return taken(files, _kept(files.labels))


def _kept(labels: np.ndarray) -> list[int]:
    """Indices of int(0.1 N / C) examples of each class, at least one.

    >>> _kept(np.repeat([0, 1], 20))
    [12, 13, 32, 33]
    """
    classes = shuffled(labels)
    count = max(1, int(len(labels) * TENTH / len(classes)))
    return sorted(i for indices in classes for i in indices[:count])


def _zhou(images: Path, path: Path) -> dict[str, ImageFiles]:
    """The roles of CoOp's JSON file; train is cut in the order of that file, as the paper's code does."""
    try:
        rows = {role: [(str(p), int(n), str(c)) for p, n, c in entries] for role, entries in _json(path).items()}
        parts = {role: rows[role] for role in ROLES}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BobError(
            f"{path} is not {{train, val, test: [[path, label, name], ...]}} ({error}); get it anew"
        ) from error
    names = {label: name for entries in parts.values() for _, label, name in entries}
    if sorted(names) != list(range(len(names))) or len(names) < 2:
        raise BobError(f"{path}: its labels are not 0, 1, ... without gaps: {sorted(names)}; get it anew")
    parts["train"] = [parts["train"][i] for i in _kept(np.array([label for _, label, _ in parts["train"]]))]
    classes = [names[label] for label in sorted(names)]
    return {
        role: images_in_list(
            images, f"eurosat {role}", [p for p, _, _ in entries], np.array([n for _, n, _ in entries]), classes
        )
        for role, entries in parts.items()
    }


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _by_role(root: Path) -> bool:
    """Whether the folder is a tree of roles."""
    return (root / "train").is_dir() and ((root / "val").is_dir() or (root / "test").is_dir())


def _roles(name: str, root: Path) -> dict[str, ImageFiles]:
    """The class folders of train, test and, where it is there, val; those of train are the classes."""
    train = images_in_class_folders(root / "train", f"{name} train")
    others = [role for role in ("val", "test") if role == "test" or (root / role).is_dir()]
    return {"train": train} | {
        role: images_in_class_folders(root / role, f"{name} {role}", train.classes) for role in others
    }


def _dataset(name: str, parts: Mapping[str, ImageFiles], evaluated: str = "test") -> Dataset:
    """A dataset of these roles; `evaluated` is test where the one that the paper took is not there."""
    splits = {role: labelled_split(role, files) for role, files in parts.items()}
    return Dataset(name, splits, parts["train"].classes, paper_role=evaluated if evaluated in splits else "test")


def _fetched(name: str, locations: DataLocations, fetch: Callable[[Path], Any]) -> Path:
    """The folder of a dataset; where it is absent it is fetched, if the user allows it.

    It is fetched into a folder beside it, which takes its name when it is complete; a second process waits.
    """
    root = locations.folder_of(name)
    if is_nonempty_folder(root) or not locations.download:
        return present(name, locations)
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_name(f".{root.name}.lock")):
        if not is_nonempty_folder(root):
            part = root.with_name(f".{root.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            try:
                fetch(part)
                part.rename(root)
            except (OSError, RuntimeError, ValueError, EOFError) as error:
                raise BobError(f"{name} cannot be fetched to {root} ({error}); try again, or copy it there") from error
    return root


def _official(
    name: str, root: Path, folder: str, roles: Sequence[str], read: Callable[[Path, str], Any]
) -> dict[str, Any]:
    """Role -> what torchvision reads from the publisher's `folder`, which is below `root` or is `root`."""
    top = root if (root / folder).is_dir() else root.parent
    if top != root and root.name != folder:
        raise BobError(
            f"{name}: neither {folder} nor train and test in {root}; rename what is there, or see `bob data {name}`"
        )
    try:
        return {role: read(top, role) for role in roles}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise BobError(
            f"{name} in {top / folder} is not what its publisher ships, or damaged ({type(error).__name__}: {error}); "
            "remove the folder and get it anew"
        ) from error

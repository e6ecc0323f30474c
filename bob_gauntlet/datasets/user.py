"""Datasets of the user's own, declared in `bob.toml`: class folders, CSV files of labels, or files in COCO's format."""

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bob_gauntlet.datasets.annotated_images import AnnotatedImages, annotated_split
from bob_gauntlet.datasets.coco_format import Category, read_coco
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.file_hashes import FileHashes
from bob_gauntlet.datasets.image_folders import ImageFiles, images_in_class_folders, images_in_list, labelled_split
from bob_gauntlet.datasets.spec import UserDataset
from bob_gauntlet.errors import BobError, MissingError, named, nearest


class CsvRow(NamedTuple):
    """One line of a CSV file: its line number, the path of the image and the text of its label cell."""

    line: int
    path: str
    label: str


def load(declared: UserDataset, hashes: FileHashes) -> Dataset:
    """Load a user's own dataset, with the roles train, test and, where declared, val; `hashes` hashes its files.

    Raises MissingError where a declared path does not exist, BobError where the content of a file or folder is wrong.
    """
    for role, path in declared.roots.items():
        if not path.exists():
            raise MissingError(
                f"{declared.name}'s {role} is not in {path}; put it there, or correct {declared.declared_in}"
            )
    return _load_annotated(declared, hashes) if declared.kind == "coco" else _load_labelled(declared, hashes)


def _load_annotated(declared: UserDataset, hashes: FileHashes) -> Dataset:
    """Load images with objects from files in COCO's format; the files of all roles must have the same categories."""
    name = declared.name
    files = {role: read_coco(path, declared.image_folders[role]) for role, path in declared.paths.items()}
    train = files["train"]
    for role, file in files.items():
        _check_categories(f"{name}'s {role}", file.categories, train.categories)
    if difference := _describe_difference(train.classes, declared.classes or train.classes):
        raise BobError(f"{name}'s train: its categories are not the classes of {declared.declared_in}: {difference}")
    _check_roles_are_disjoint(name, {role: file.images for role, file in files.items()})
    splits = {
        role: annotated_split(role, f"{name}'s {role}", file.images, file.classes, hashes)
        for role, file in files.items()
    }
    return Dataset(name, splits, train.classes, multi_label=True, frequencies=train.frequencies)


def _check_categories(what: str, categories: Sequence[Category], train_categories: Sequence[Category]) -> None:
    """Raise BobError where the ids or names of categories are not those of train."""
    names, train_names = (
        [f"{category.name} (id {category.id})" for category in file] for file in (categories, train_categories)
    )
    if difference := _describe_difference(names, train_names):
        raise BobError(f"{what}: its categories are not those of train: {difference}")


def _describe_difference(names: Sequence[str], expected: Sequence[str]) -> str:
    """Describe which of the expected names are missing and which names are not expected; empty if there are none.

    >>> _describe_difference(["cat", "eel"], ["cat", "dog"])
    'dog missing, eel not expected; correct one of them'
    """
    missing = [name for name in expected if name not in names]
    unexpected = [name for name in names if name not in expected]
    parts = [f"{named(some)} {word}" for some, word in ((missing, "missing"), (unexpected, "not expected")) if some]
    return f"{', '.join(parts)}; correct one of them" if parts else ""


def _load_labelled(declared: UserDataset, hashes: FileHashes) -> Dataset:
    """Load images with labels from class folders or CSV files; without declared classes those of train are taken."""
    files: dict[str, ImageFiles] = {}
    classes = declared.classes
    for role, path in declared.paths.items():
        what = f"{declared.name}'s {role}"
        if declared.kind == "folder":
            files[role] = images_in_class_folders(path, what, classes)
        else:
            files[role] = _images_in_csv(path, what, classes, multi_label=declared.multi_label)
        classes = files[role].classes
    _check_roles_are_disjoint(declared.name, files)
    splits = {role: labelled_split(role, images, hashes=hashes) for role, images in files.items()}
    return Dataset(declared.name, splits, files["train"].classes, declared.multi_label)


def _check_roles_are_disjoint(name: str, files: Mapping[str, ImageFiles | AnnotatedImages]) -> None:
    """Raise BobError where a file is in two roles: a test on training images would measure nothing."""
    role_of_file: dict[Path, str] = {}
    for role, images in files.items():
        root = images.root.resolve()
        for path in images.paths:
            other = role_of_file.setdefault(Path(os.path.normpath(root / path)), role)
            if other != role:
                raise BobError(f"{name}: {path} is in {other} and in {role}; remove it from one of them")


def _images_in_csv(path: Path, what: str, classes: Sequence[str] | None, *, multi_label: bool) -> ImageFiles:
    """Return the images that a CSV file names, labelled by `classes`, else by the sorted labels of the file itself."""
    rows = list(_read_rows(path, multi_label=multi_label))
    if not rows:
        raise BobError(f"{path}:2: no line after the first; {what} needs images")
    labels_of_rows = [_split_labels(row.label) if multi_label else [row.label] for row in rows]
    known = tuple(classes or _sort_classes([label for labels in labels_of_rows for label in labels]))
    if len(known) < 2:
        raise BobError(f"{path}: its column label has only one class; {what} needs two")
    index = {label: number for number, label in enumerate(known)}
    indices = [
        [_class_index(label, index, f"{path}:{row.line}") for label in labels]
        for row, labels in zip(rows, labels_of_rows, strict=True)
    ]
    _check_image_paths(path, rows)
    targets = _multi_hot(indices, len(known)) if multi_label else np.array(indices, np.int64)[:, 0]
    return images_in_list(path.parent, what, [row.path for row in rows], targets, known)


def _multi_hot(indices: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """Return (N, C) int64 {0, 1} targets from the class indices of each example.

    >>> _multi_hot([[0, 2], []], 3).tolist()
    [[1, 0, 1], [0, 0, 0]]
    """
    targets = np.zeros((len(indices), classes), np.int64)
    for row, labels in zip(targets, indices, strict=True):
        row[list(labels)] = 1
    return targets


def _read_rows(path: Path, *, multi_label: bool) -> Iterator[CsvRow]:
    """Yield the lines of a CSV file with the columns path and label; only with `multi_label` may a label be empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            for column in ("path", "label"):
                if column not in (reader.fieldnames or ()):
                    raise BobError(f"{path}:1: no column {column!r}; its first line has to be path,label")
            for row in reader:
                image, label = (row["path"] or "").strip(), (row["label"] or "").strip()
                if not image or row["label"] is None or not (label or multi_label):
                    raise BobError(f"{path}:{reader.line_num}: a line has to be PATH,LABEL")
                surplus: Any = row.get(None) or []
                if any(surplus):
                    raise BobError(
                        f"{path}:{reader.line_num}: it has {len(row) - 1 + len(surplus)} values for {len(row) - 1} "
                        f"columns; put a label with a comma into double quotes"
                    )
                yield CsvRow(reader.line_num, image, label)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise BobError(f"{path}: {reason}; it has to be a CSV file in UTF-8") from error


def _check_image_paths(path: Path, rows: Sequence[CsvRow]) -> None:
    """Raise BobError with file and line where an image is absent, is named twice or has an absolute path."""
    first_lines: dict[str, int] = {}
    for row in rows:
        where = f"{path}:{row.line}"
        if Path(row.path).is_absolute():
            raise BobError(f"{where}: {row.path} has to be relative to the folder of this file")
        if not (path.parent / row.path).is_file():
            raise BobError(f"{where}: there is no file {path.parent / row.path}")
        if first_lines.setdefault(row.path, row.line) != row.line:
            raise BobError(f"{where}: {row.path} is already on line {first_lines[row.path]}; keep one of the two")


def _split_labels(cell: str) -> list[str]:
    """Return the labels of a cell, which are separated by | or ;.

    >>> _split_labels("cat | dog"), _split_labels("")
    (['cat', 'dog'], [])
    """
    return [label.strip() for label in re.split(r"[|;]", cell) if label.strip()]


def _sort_classes(labels: Sequence[str]) -> list[str]:
    """Return the distinct labels, sorted by value where all are whole numbers, else by name.

    >>> _sort_classes(["10", "9", "9"])
    ['9', '10']
    """
    distinct = set(labels)
    return sorted(distinct, key=int) if all(label.isdecimal() for label in distinct) else sorted(distinct)


def _class_index(label: str, classes: Mapping[str, int], where: str) -> int:
    """Return the index of the class named `label`; a label may also be an index where no class is named by a number."""
    if label in classes:
        return classes[label]
    if label.isdecimal() and int(label) < len(classes) and not any(name.isdecimal() for name in classes):
        return int(label)
    raise BobError(f"{where}: {label!r} is not among the {len(classes)} classes{nearest(label, classes, 1)}")

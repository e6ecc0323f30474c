"""Datasets of the user's own, declared in `bob.toml`: class folders, CSV files of labels, COCO's files of objects."""

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bob_gauntlet.datasets.annotated_images import Annotated, annotated_split
from bob_gauntlet.datasets.coco_format import Category, read_coco
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.image_folders import Files, class_folders, listed, split
from bob_gauntlet.datasets.locations import ROLES, DataLocations
from bob_gauntlet.errors import BobError, MissingError, named, nearest


class Row(NamedTuple):
    """One line of a CSV file: where it stands, the image's path and its label cell."""

    line: int
    path: str
    label: str


def load(name: str, locations: DataLocations) -> Dataset:
    """A dataset of the user's own, with roles train, test and, where declared, val.

    Raises MissingError where a declared path does not exist, BobError where what it holds is wrong.
    """
    table = locations.own[name]
    for role, path in locations.roots(name).items():
        if not path.exists():
            raise MissingError(f"{name}'s {role} is not in {path}; put it there, or mend {locations.declared_in}")
    return _annotated(name, locations) if table["kind"] == "coco" else _labelled(name, locations)


def _annotated(name: str, locations: DataLocations) -> Dataset:
    """Images with objects, annotated in COCO's format; the files of all roles have to be of the same categories."""
    roots = locations.roots(name)
    roles = [role for role in ROLES if role in roots]
    found = {role: read_coco(roots[role], roots[f"image folder of {role}"]) for role in roles}
    train = found["train"]
    for role in roles[1:]:
        _check_categories(f"{name}'s {role}", found[role].categories, train.categories)
    declared = locations.own[name].get("classes", train.classes)
    if difference := _difference(train.classes, declared):
        raise BobError(f"{name}'s train: its categories are not the classes of {locations.declared_in}: {difference}")
    _check_apart(name, {role: one.images for role, one in found.items()})
    splits = {role: annotated_split(role, f"{name}'s {role}", one.images, one.classes) for role, one in found.items()}
    return Dataset(name, splits, train.classes, multi_label=True, frequencies=train.frequencies)


def _check_categories(what: str, found: Sequence[Category], train: Sequence[Category]) -> None:
    """BobError where ids or names are not those of train."""
    one, other = ([f"{category.name} (id {category.id})" for category in file] for file in (found, train))
    if difference := _difference(one, other):
        raise BobError(f"{what}: its categories are not those of train: {difference}")


def _difference(found: Sequence[str], wanted: Sequence[str]) -> str:
    """What is missing and what is too much; empty where both have the same names.

    >>> _difference(["cat", "eel"], ["cat", "dog"])
    'dog missing, eel too much; mend one of them'
    """
    missing, extra = ([one for one in a if one not in b] for a, b in ((wanted, found), (found, wanted)))
    parts = [f"{named(names)} {word}" for names, word in ((missing, "missing"), (extra, "too much")) if names]
    return f"{', '.join(parts)}; mend one of them" if parts else ""


def _labelled(name: str, locations: DataLocations) -> Dataset:
    """Images with labels, from class folders or lists."""
    table = locations.own[name]
    multi_label = bool(table.get("multi_label", False))
    files: dict[str, Files] = {}
    classes = tuple(table["classes"]) if "classes" in table else None
    for role, path in locations.roots(name).items():
        what = f"{name}'s {role}"
        if table["kind"] == "folder":
            files[role] = class_folders(path, what, classes)
        else:
            files[role] = _from_csv(path, what, classes, multi_label=multi_label)
        classes = files[role].classes
    _check_apart(name, files)
    assert classes is not None
    return Dataset(name, {role: split(role, found) for role, found in files.items()}, classes, multi_label)


def _check_apart(name: str, files: Mapping[str, Files | Annotated]) -> None:
    """BobError where a file is in two roles: its score would be no test."""
    seen: dict[Path, str] = {}
    for role, found in files.items():
        root = found.root.resolve()
        for path in found.paths:
            other = seen.setdefault(Path(os.path.normpath(root / path)), role)
            if other != role:
                raise BobError(f"{name}: {path} is in {other} and in {role}; take it out of one of them")


def _from_csv(path: Path, what: str, classes: Sequence[str] | None, *, multi_label: bool) -> Files:
    """The images that a CSV file names, labelled by `classes`, else by the sorted labels of the file itself."""
    rows = list(_rows(path, multi_label=multi_label))
    if not rows:
        raise BobError(f"{path}:2: no line after the first; {what} needs images")
    cells = [_labels(row.label) if multi_label else [row.label] for row in rows]
    known = tuple(classes or _classes([label for cell in cells for label in cell]))
    if len(known) < 2:
        raise BobError(f"{path}: one class alone in its column label; {what} needs two")
    index = {label: number for number, label in enumerate(known)}
    found = [
        [_index(label, index, f"{path}:{row.line}") for label in cell] for row, cell in zip(rows, cells, strict=True)
    ]
    _check_paths(path, rows)
    labels = _one_hot(found, len(known)) if multi_label else np.array(found, np.int64)[:, 0]
    return listed(path.parent, what, [row.path for row in rows], labels, known)


def _one_hot(found: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """(N, C) {0, 1} from the indices of each example.

    >>> _one_hot([[0, 2], []], 3).tolist()
    [[1, 0, 1], [0, 0, 0]]
    """
    labels = np.zeros((len(found), classes), np.int64)
    for row, indices in zip(labels, found, strict=True):
        row[list(indices)] = 1
    return labels


def _rows(path: Path, *, multi_label: bool) -> Iterator[Row]:
    """The lines of a CSV file that has the columns path and label; a cell without labels is for multi-label alone."""
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
                yield Row(reader.line_num, image, label)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise BobError(f"{path}: {reason}; it has to be a CSV file in UTF-8") from error


def _check_paths(path: Path, rows: Sequence[Row]) -> None:
    """BobError with file and line for an image that is not there, is named twice or is not relative to the file."""
    seen: dict[str, int] = {}
    for row in rows:
        where = f"{path}:{row.line}"
        if Path(row.path).is_absolute():
            raise BobError(f"{where}: {row.path} has to be relative to the folder of this file")
        if not (path.parent / row.path).is_file():
            raise BobError(f"{where}: there is no file {path.parent / row.path}")
        if seen.setdefault(row.path, row.line) != row.line:
            raise BobError(f"{where}: {row.path} was on line {seen[row.path]} already; keep one of the two")


def _labels(cell: str) -> list[str]:
    """The labels of a cell, parted by | or ;.

    >>> _labels("cat | dog"), _labels("")
    (['cat', 'dog'], [])
    """
    return [label.strip() for label in re.split(r"[|;]", cell) if label.strip()]


def _classes(labels: Sequence[str]) -> list[str]:
    """The distinct labels, sorted; by value where all are whole numbers.

    >>> _classes(["10", "9", "9"])
    ['9', '10']
    """
    distinct = set(labels)
    return sorted(distinct, key=int) if all(label.isdecimal() for label in distinct) else sorted(distinct)


def _index(label: str, classes: Mapping[str, int], where: str) -> int:
    """The index of a label: that of the class so named, or the number itself where no class is named by a number."""
    if label in classes:
        return classes[label]
    if label.isdecimal() and int(label) < len(classes) and not any(name.isdecimal() for name in classes):
        return int(label)
    raise BobError(f"{where}: {label!r} is not among the {len(classes)} classes{nearest(label, classes, 1)}")

"""`chexpert`: five findings on frontal chest radiographs, several of which one image may show."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.image_folders import images_in_list, labelled_split
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper.layout import present, unpacked
from bob_gauntlet.errors import BobError

NAME = "chexpert"

FINDINGS = ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion")
"""The classes, in the order of the paper's code."""

UNCERTAIN = {"Edema": 1, "Atelectasis": 1}
"""What -1 counts as; 0 for the others."""

SHARE = 0.1
"""Share of train that is used, after a shuffle seeded with SEED."""

SEED = 123

_VALUES = {"": 0, "0": 0, "0.0": 0, "1": 1, "1.0": 1}
_PATIENT = re.compile(r"(?:^|/)(patient\d+)/")


@dataclass(frozen=True)
class Row:
    """A line of train.csv or valid.csv."""

    path: str
    targets: tuple[int, ...]


def load_chexpert(locations: DataLocations) -> Dataset:
    """CheXpert v1.0, small or full: frontal views alone, targets (N, 5); clusters are patients.

    As in the paper's code (Yuan et al., ICCV 2021): a blank is 0, uncertain is 1 for edema and atelectasis and 0 for
    the others. `train` is the first tenth of train.csv shuffled with NumPy's seed 123; `test` is valid.csv.
    """
    root = unpacked(present(NAME, locations), "CheXpert-v1.0-small", "CheXpert-v1.0")
    train, valid = (_frontal(root / f"{role}.csv") for role in ("train", "valid"))
    order = np.random.RandomState(SEED).permutation(len(train))[: max(1, int(len(train) * SHARE))]
    splits = {"train": _split("train", root, [train[i] for i in order]), "test": _split("test", root, valid)}
    return Dataset(NAME, splits, classes=FINDINGS, multi_label=True)


def _split(role: str, root: Path, rows: Sequence[Row]) -> Split:
    """The images of these rows; a patient is a cluster."""
    targets = np.array([row.targets for row in rows], np.int64).reshape(-1, len(FINDINGS))
    files = images_in_list(root, f"{NAME} {role}", [row.path for row in rows], targets, FINDINGS)
    return labelled_split(role, files, [match[1] for path in files.paths if (match := _PATIENT.search(path))])


def _frontal(path: Path) -> list[Row]:
    """The rows of frontal views, in the file's order."""
    if not path.is_file():
        raise BobError(f"{NAME}: no {path.name} in {path.parent}; `bob data {NAME}` shows the layout")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        for column in ("Path", "Frontal/Lateral", *FINDINGS):
            if column not in (reader.fieldnames or ()):
                raise BobError(f"{path}, line 1: no column {column!r}; get the file anew")
        return [_row(path, reader.line_num, row) for row in reader if row["Frontal/Lateral"] == "Frontal"]


def _row(path: Path, line: int, row: dict[str, str | None]) -> Row:
    """A row's path below the dataset's folder, and its targets."""
    # the first part is the name of the archive
    image = (row["Path"] or "").partition("/")[2]
    if not _PATIENT.search(image):
        raise BobError(f"{path}, line {line}: no patient in path {row['Path']!r}; get the file anew")
    return Row(image, tuple(_target(path, line, finding, row[finding]) for finding in FINDINGS))


def _target(path: Path, line: int, finding: str, value: str | None) -> int:
    """0 or 1."""
    if value in ("-1", "-1.0"):
        return UNCERTAIN.get(finding, 0)
    if value not in _VALUES:
        raise BobError(f"{path}, line {line}: {finding} is {value!r}, not 1, 0, -1 or blank; get the file anew")
    return _VALUES[value]

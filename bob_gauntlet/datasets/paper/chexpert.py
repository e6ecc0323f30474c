"""The multi-label dataset `chexpert`: five findings on frontal chest radiographs."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.file_hashes import FileHashes
from bob_gauntlet.datasets.image_folders import images_in_list, labelled_split
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper.layout import inner_folder, require_folder
from bob_gauntlet.errors import BobError

NAME = "chexpert"

FINDINGS = ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion")
"""The classes, in the order of the paper's code."""

UNCERTAIN_TARGETS = {"Edema": 1, "Atelectasis": 1}
"""Finding -> target of an uncertain label (-1); for the other findings the target is 0."""

TRAIN_SHARE = 0.1
"""Share of train that is used, after a shuffle that is seeded with SEED."""

SEED = 123

_VALUES = {"": 0, "0": 0, "0.0": 0, "1": 1, "1.0": 1}
_PATIENT = re.compile(r"(?:^|/)(patient\d+)/")


@dataclass(frozen=True)
class CheXpertRow:
    """A row of train.csv or valid.csv: the path of an image below the dataset's folder, and a target per finding."""

    path: str
    targets: tuple[int, ...]


def load_chexpert(locations: DataLocations) -> Dataset:
    """Load CheXpert v1.0, small or full: the frontal views with (N, 5) targets; clusters are patients.

    Labels are read as in the paper's code (Yuan et al., ICCV 2021): a blank is 0; uncertain is 1 for edema and
    atelectasis, and 0 for the other findings. `train` is the first tenth of train.csv after a shuffle with NumPy's seed
    123; `test` is valid.csv.
    """
    root = inner_folder(require_folder(NAME, locations), "CheXpert-v1.0-small", "CheXpert-v1.0")
    train, valid = (_read_frontal(root / f"{role}.csv") for role in ("train", "valid"))
    order = np.random.RandomState(SEED).permutation(len(train))[: max(1, int(len(train) * TRAIN_SHARE))]
    used = [train[i] for i in order]
    splits = {
        role: _build_split(role, root, rows, locations.hashes) for role, rows in (("train", used), ("test", valid))
    }
    return Dataset(NAME, splits, classes=FINDINGS, multi_label=True)


def _build_split(role: str, root: Path, rows: Sequence[CheXpertRow], hashes: FileHashes) -> Split:
    """Return the split of these rows; each patient is a cluster."""
    targets = np.array([row.targets for row in rows], np.int64).reshape(-1, len(FINDINGS))
    files = images_in_list(root, f"{NAME} {role}", [row.path for row in rows], targets, FINDINGS)
    patients = [match[1] for path in files.paths if (match := _PATIENT.search(path))]
    return labelled_split(role, files, patients, hashes=hashes)


def _read_frontal(path: Path) -> list[CheXpertRow]:
    """Return the rows of frontal views, in the order of the file."""
    if not path.is_file():
        raise BobError(f"{NAME}: no {path.name} in {path.parent}; `bob data {NAME}` shows the layout")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        for column in ("Path", "Frontal/Lateral", *FINDINGS):
            if column not in (reader.fieldnames or ()):
                raise BobError(f"{path}, line 1: no column {column!r}; get the file again")
        return [_parse_row(path, reader.line_num, row) for row in reader if row["Frontal/Lateral"] == "Frontal"]


def _parse_row(path: Path, line: int, row: dict[str, str | None]) -> CheXpertRow:
    """Return the path and the targets of one row; BobError where one of them is wrong."""
    # the first part of the path is the name of the archive
    image = (row["Path"] or "").partition("/")[2]
    if not _PATIENT.search(image):
        raise BobError(f"{path}, line {line}: no patient in path {row['Path']!r}; get the file again")
    return CheXpertRow(image, tuple(_parse_target(path, line, finding, row[finding]) for finding in FINDINGS))


def _parse_target(path: Path, line: int, finding: str, value: str | None) -> int:
    """Return the target, 0 or 1, of a label; BobError where the label is not 1, 0, -1 or blank."""
    if value in ("-1", "-1.0"):
        return UNCERTAIN_TARGETS.get(finding, 0)
    if value not in _VALUES:
        raise BobError(f"{path}, line {line}: {finding} is {value!r}, not 1, 0, -1 or blank; get the file again")
    return _VALUES[value]

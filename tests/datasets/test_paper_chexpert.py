"""Tests of `chexpert`: views, labels, the tenth of train, patients, and bad tables."""

import csv
from pathlib import Path

import numpy as np
import pytest

from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper.chexpert import load_chexpert
from bob_gauntlet.errors import BobError
from tests.helpers import dataset_trees as trees

# dataset_trees.py writes for patient p and finding i the (p + i) mod 4-th of 1.0, 0.0, blank and -1.0; the last two are
# only in train. In the paper's code -1 counts as 1 for the second and fourth finding, Edema and Atelectasis.
UNCERTAIN = (0, 1, 0, 1, 0)


def expected_targets(patient: int) -> list[int]:
    """Return the targets of a patient of train."""
    return [(1, 0, 0, UNCERTAIN[i])[(patient + i) % 4] for i in range(5)]


@pytest.mark.parametrize(
    ("inner", "prefix"),
    [
        ("CheXpert-v1.0-small", "CheXpert-v1.0-small"),
        ("CheXpert-v1.0", "CheXpert-v1.0"),
        ("", "CheXpert-v1.0-small"),
    ],
    ids=["small", "full", "the folder itself"],
)
def test_frontal_views_of_a_tenth(inner: str, prefix: str, tmp_path: Path) -> None:
    """Train is the first tenth of the shuffled frontal rows, and clusters are patients."""
    trees.chexpert(tmp_path, inner, prefix)
    dataset = load_chexpert(DataLocations(tmp_path))
    assert dataset.multi_label
    assert dataset.classes == ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion")
    # the paper's code shuffles a list of row numbers; there are 120 frontal rows, of patients 1 to 120
    rows = list(range(120))
    np.random.RandomState(123).shuffle(rows)
    patients = sorted(1 + row for row in rows[:12])
    assert dataset["train"].ids == tuple(f"train/patient{p:05}/study1/view1_frontal.jpg" for p in patients)
    assert dataset["train"].clusters == tuple(f"patient{p:05}" for p in patients)
    assert dataset["train"].targets.tolist() == [expected_targets(p) for p in patients]
    assert len(dataset["test"]) == 8
    assert dataset["test"].clusters[0] == "patient64541"
    assert dataset["test"].targets[0].tolist() == [0, 1, 0, 1, 0]


def test_every_value_of_every_finding(tmp_path: Path) -> None:
    """Each finding with 1, 0, blank and uncertain has its target, read as a test split, which is not cut."""
    trees.chexpert(tmp_path)
    folder = tmp_path / "chexpert/CheXpert-v1.0-small"
    lines = (folder / "train.csv").read_text().splitlines()
    (folder / "valid.csv").write_text("\n".join(lines))
    test = load_chexpert(DataLocations(tmp_path))["test"]
    assert len(test) == 120
    assert test.targets.tolist() == [expected_targets(p) for p in range(1, 121)]


def test_an_edited_label_is_another_fingerprint(tmp_path: Path) -> None:
    """An edited label changes the fingerprint of its split, and not that of the other."""
    trees.chexpert(tmp_path)
    path = tmp_path / "chexpert/CheXpert-v1.0-small/valid.csv"
    before = load_chexpert(DataLocations(tmp_path)).fingerprints
    rows = list(csv.reader(path.read_text().splitlines()))
    rows[1][trees.COLUMNS.index("Edema")] = "0.0"
    trees.write_csv(path, rows[0], rows[1:])
    after = load_chexpert(DataLocations(tmp_path)).fingerprints
    assert after["train"] == before["train"]
    assert after["test"] != before["test"]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("Edema", "maybe", r"valid.csv, line 2: Edema is 'maybe', not 1, 0, -1 or blank"),
        ("Path", "CheXpert-v1.0-small/valid/x.jpg", r"valid.csv, line 2: no patient in path"),
        ("Path", "CheXpert-v1.0-small/valid/patient9/a.jpg", r"chexpert test: .*patient9/a.jpg cannot be found"),
    ],
    ids=["value", "patient", "missing image"],
)
def test_bad_rows(column: str, value: str, message: str, tmp_path: Path) -> None:
    """The error names the file and the line, or the image."""
    trees.chexpert(tmp_path)
    path = tmp_path / "chexpert/CheXpert-v1.0-small/valid.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    rows[1][trees.COLUMNS.index(column)] = value
    trees.write_csv(path, rows[0], rows[1:])
    with pytest.raises(BobError, match=message):
        load_chexpert(DataLocations(tmp_path))


def test_missing_tables_and_columns(tmp_path: Path) -> None:
    """The error names a missing table or column."""
    trees.chexpert(tmp_path)
    path = tmp_path / "chexpert/CheXpert-v1.0-small/valid.csv"
    path.write_text(path.read_text().replace("Atelectasis", "Collapse"))
    with pytest.raises(BobError, match=r"valid.csv, line 1: no column 'Atelectasis'"):
        load_chexpert(DataLocations(tmp_path))
    path.unlink()
    with pytest.raises(BobError, match=r"chexpert: no valid.csv in"):
        load_chexpert(DataLocations(tmp_path))

"""Tests of a user's own datasets in class folders and CSV files: what is read and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.loading import load
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.manifests import fingerprints
from bob_gauntlet.datasets.spec import UserDataset
from bob_gauntlet.errors import BobError, MissingError
from bob_gauntlet.runtime.artifacts import Artifacts
from tests.helpers.dataset_trees import write_class_folders, write_noise_image
from tests.helpers.tiny_images import HashedFiles, rewrite, settle


def locations(folder: Path, **table: Any) -> DataLocations:
    """Return the locations of a bob.toml in `folder` that declares the dataset `mine`."""
    dataset = UserDataset.from_table("mine", table, folder, declared_in=str(folder / "bob.toml"))
    return DataLocations(folder / "data", user_datasets={"mine": dataset})


def load_from_folders(folder: Path, **more: Any) -> Dataset:
    """Load `mine` from the folders t/train and t/test."""
    return load("mine", locations(folder, kind="folder", train="t/train", test="t/test", **more))


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    """The folders t/train, t/val and t/test, with two class folders each."""
    for role, count in (("train", 4), ("val", 2), ("test", 3)):
        write_class_folders(tmp_path / "t" / role, ("cat", "dog"), count, f"{role}_{{i}}.jpg")
    return tmp_path


def test_class_folders(trees: Path) -> None:
    """The declared roles are loaded from class folders; val may be left out."""
    dataset = load_from_folders(trees, val="t/val")
    assert dataset.name == "mine"
    assert {role: len(split) for role, split in dataset.splits.items()} == {"train": 8, "val": 4, "test": 6}
    assert dataset.classes == ("cat", "dog")
    assert dataset["test"].targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset["test"].ids[0] == "cat/test_0.jpg"
    assert list(load_from_folders(trees).splits) == ["train", "test"]


def test_declared_classes_set_the_order_of_folders(trees: Path) -> None:
    """Declared classes set the order of the labels, and folders of other classes are refused."""
    dataset = load_from_folders(trees, classes=["dog", "cat"])
    assert dataset.classes == ("dog", "cat")
    assert dataset["train"].targets.tolist() == [1] * 4 + [0] * 4
    with pytest.raises(BobError, match="mine's train: 1 of 2 class folders are not among"):
        load_from_folders(trees, classes=["dog", "cow"])


def test_a_class_of_test_alone_is_refused(trees: Path) -> None:
    """A class that only test has is refused, since no head could be trained on it."""
    write_noise_image(trees / "t/test/eel/x.jpg")
    with pytest.raises(BobError, match=r"mine's test: 1 of 3 class folders .*: eel"):
        load_from_folders(trees)


def test_an_absent_folder_is_missing(trees: Path) -> None:
    """An absent folder raises MissingError that names the path and the file with the declaration."""
    with pytest.raises(MissingError, match=r"mine's val is not in .*t/nowhere; .*bob.toml"):
        load_from_folders(trees, val="t/nowhere")


def test_an_image_in_two_roles_is_refused(trees: Path) -> None:
    """An image in train and in val is refused."""
    with pytest.raises(BobError, match=r"cat/train_0.jpg is in train and in val"):
        load_from_folders(trees, val="t/train")


def write_lists(folder: Path, train: str, test: str, **more: Any) -> DataLocations:
    """Write lists of the images a.jpg to f.jpg; here spaces separate their lines, and the header is left out."""
    for letter in "abcdef":
        if not (folder / f"lists/{letter}.jpg").exists():
            write_noise_image(folder / f"lists/{letter}.jpg")
    for role, lines in (("train", train), ("test", test)):
        header = "" if lines.startswith("path") or lines.startswith("x") else "path,label\n"
        (folder / f"lists/{role}.csv").write_text(header + lines.replace(" ", "\n"))
    return locations(folder, kind="csv", train="lists/train.csv", test="lists/test.csv", **more)


def test_lists_of_names(tmp_path: Path) -> None:
    """Paths are relative to the list; classes are the sorted labels of train; other columns are ignored."""
    dataset = load("mine", write_lists(tmp_path, "b.jpg,dog a.jpg,cat", "path,by,label d.jpg,me,dog c.jpg,me,dog"))
    assert dataset.classes == ("cat", "dog")
    assert dataset["train"].ids == ("a.jpg", "b.jpg")
    assert dataset["train"].targets.tolist() == [0, 1]
    assert dataset["test"].targets.tolist() == [1, 1]
    assert dataset["test"].image(1).size == (40, 40)
    assert not dataset.multi_label


def test_lists_of_numbers(tmp_path: Path) -> None:
    """Labels that are numbers are sorted by value; where the declared classes have names, numbers are indices."""
    dataset = load("mine", write_lists(tmp_path, "a.jpg,10 b.jpg,9", "c.jpg,10"))
    assert dataset.classes == ("9", "10")
    assert dataset["train"].targets.tolist() == [1, 0]
    named = load("mine", write_lists(tmp_path, "a.jpg,1 b.jpg,0", "c.jpg,dog", classes=["cat", "dog", "eel"]))
    assert named.classes == ("cat", "dog", "eel")
    assert (named["train"].targets.tolist(), named["test"].targets.tolist()) == ([1, 0], [1])


def test_several_labels_in_a_cell(tmp_path: Path) -> None:
    """Labels in a cell are separated by | or ;, and an empty cell has none."""
    lists = write_lists(tmp_path, "a.jpg,cat|dog b.jpg,eel;cat c.jpg,", "d.jpg,cat e.jpg,cat", multi_label=True)
    dataset = load("mine", lists)
    assert dataset.multi_label
    assert dataset.classes == ("cat", "dog", "eel")
    assert dataset["train"].targets.tolist() == [[1, 1, 0], [1, 0, 1], [0, 0, 0]]
    assert dataset["test"].targets.tolist() == [[1, 0, 0], [1, 0, 0]]


def test_no_label_is_an_empty_cell_not_an_absent_one(tmp_path: Path) -> None:
    """A line that ends before its label column is refused, as it was cut off."""
    with pytest.raises(BobError, match=r"train.csv:3: a line has to be PATH,LABEL"):
        load("mine", write_lists(tmp_path, "a.jpg,cat|dog b.jpg", "d.jpg,cat", multi_label=True))


@pytest.mark.parametrize(
    ("train", "test", "says"),
    [
        ("a.jpg,cat b.jpg,dog", "c.jpg,dgo", "test.csv:2: 'dgo' is not among the 2 classes; did you mean dog"),
        ("a.jpg,cat b.jpg,dog z.jpg,dog", "c.jpg,dog", "train.csv:4: there is no file .*z.jpg"),
        ("a.jpg,cat b.jpg,dog a.jpg,cat", "c.jpg,dog", "train.csv:4: a.jpg is already on line 2"),
        ("a.jpg,cat b.jpg,dog", "/c.jpg,dog", "test.csv:2: /c.jpg has to be relative"),
        ("a.jpg,cat b.jpg", "c.jpg,dog", "train.csv:3: a line has to be PATH,LABEL"),
        ("a.jpg,cat b.jpg,", "c.jpg,dog", "train.csv:3: a line has to be PATH,LABEL"),
        ("a.jpg,cat ,dog", "c.jpg,dog", "train.csv:3: a line has to be PATH,LABEL"),
        (
            "a.jpg,cat b.jpg,dog,cow",
            "c.jpg,dog",
            "train.csv:3: it has 3 values for 2 columns; put a label with a comma",
        ),
        ("a.jpg,cat b.jpg,dog", "c.jpg,dog,,x", "test.csv:2: it has 4 values for 2 columns"),
        ("path,class a.jpg,cat", "c.jpg,dog", "train.csv:1: no column 'label'"),
        ("x,label a.jpg,cat", "c.jpg,dog", "train.csv:1: no column 'path'"),
        ("a.jpg,cat b.jpg,cat", "c.jpg,cat", "train.csv: its column label has only one class"),
        ("a.jpg,cat b.jpg,dog", "", "test.csv:2: no line after the first"),
        ("a.jpg,cat b.jpg,dog", "a.jpg,cat", "mine: a.jpg is in train and in test"),
        ("a.jpg,1 b.jpg,2", "c.jpg,0", "test.csv:2: '0' is not among the 2 classes"),
        ('a.jpg,"cat', "c.jpg,cat", "train.csv: .*has to be a CSV file"),
    ],
)
def test_a_wrong_list_names_file_and_line(tmp_path: Path, train: str, test: str, says: str) -> None:
    """The error is one line that names the file and the line."""
    with pytest.raises(BobError, match=says) as caught:
        load("mine", write_lists(tmp_path, train, test))
    assert len(str(caught.value).splitlines()) == 1


def test_a_list_in_another_encoding_or_a_folder_is_named(tmp_path: Path) -> None:
    """A list is UTF-8, with or without a byte order mark; another encoding or a folder is refused."""
    lists = write_lists(tmp_path, "a.jpg,cat b.jpg,dog", "c.jpg,dog")
    path = tmp_path / "lists/train.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(load("mine", lists)["train"]) == 2
    path.write_bytes("path,label\na.jpg,ü\n".encode("latin-1"))
    with pytest.raises(BobError, match=r"train.csv: .*CSV file in UTF-8"):
        load("mine", lists)
    path.unlink()
    path.mkdir()
    with pytest.raises(BobError, match=r"train.csv: Is a directory; it has to be a CSV file in UTF-8"):
        load("mine", lists)


def test_fingerprints_follow_labels_and_content(tmp_path: Path) -> None:
    """A list is read each time: an edited label or a changed image gives another fingerprint."""
    artifacts = Artifacts(tmp_path / "artifacts")
    lists = write_lists(tmp_path, "a.jpg,cat b.jpg,dog c.jpg,cat", "d.jpg,dog")
    seen = [fingerprints("mine", artifacts, lists)]
    assert fingerprints("mine", artifacts, lists) == seen[0]
    write_lists(tmp_path, "a.jpg,cat b.jpg,dog c.jpg,dog", "d.jpg,dog")
    seen.append(fingerprints("mine", artifacts, lists))
    rewrite(tmp_path / "lists/a.jpg", bytes((tmp_path / "lists/a.jpg").stat().st_size))
    seen.append(fingerprints("mine", artifacts, lists))
    assert len({one["train"] for one in seen}) == 3
    assert len({one["test"] for one in seen}) == 1


def test_unchanged_class_folders_are_listed_and_not_read(trees: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the files that were added or changed are read again."""
    settle(monkeypatch)
    hashed = HashedFiles(monkeypatch)
    artifacts = Artifacts(trees / "artifacts")
    declared = locations(trees, kind="folder", train="t/train", test="t/test")
    first = fingerprints("mine", artifacts, declared)
    assert len(hashed.since_last()) == 14
    assert fingerprints("mine", artifacts, declared) == first
    assert hashed.since_last() == []
    write_noise_image(trees / "t/test/cat/new.jpg")
    second = fingerprints("mine", artifacts, declared)
    assert hashed.since_last() == ["cat/new.jpg"]
    assert second["train"] == first["train"]
    assert second["test"] != first["test"]

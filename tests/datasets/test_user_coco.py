"""Tests of a user's own dataset in COCO's format."""

from collections.abc import Callable
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
from tests.helpers.detection_trees import Json, coco_content, write_image, write_json, write_listed_images
from tests.helpers.tiny_images import HashedFiles, settle


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """train.json and test.json in the folder `notes`, and the images of both in the folder `images`."""
    for role, first, count in (("train", 7, 4), ("test", 107, 3)):
        content = coco_content(first, count)
        write_json(tmp_path / f"notes/{role}.json", content)
        write_listed_images(tmp_path / "images", content)
    return tmp_path


def locations(folder: Path, **table: Any) -> DataLocations:
    """Return the locations of a bob.toml in `folder` that declares the dataset `mine`."""
    table = {"kind": "coco", "train": "notes/train.json", "test": "notes/test.json", "images": "images", **table}
    table = {key: value for key, value in table.items() if value}
    declared = UserDataset.from_table("mine", table, folder, declared_in=str(folder / "bob.toml"))
    return DataLocations(folder / "data", user_datasets={"mine": declared})


def load_declared(folder: Path, **table: Any) -> Dataset:
    """Load the dataset `mine`."""
    return load("mine", locations(folder, **table))


def test_a_declared_dataset_is_read(notes: Path) -> None:
    """Roles, objects and classes are read; classes may be declared in any order."""
    dataset = load_declared(notes, classes=["toothbrush", "person", "car"])
    assert (dataset.name, dataset.classes, dataset.multi_label) == ("mine", ("person", "car", "toothbrush"), True)
    assert {role: len(split) for role, split in dataset.splits.items()} == {"train": 4, "test": 3}
    assert dataset["train"].ids[0] == "000000000007.jpg"
    assert dataset["train"].targets.tolist() == [[1, 1, 1]] * 3 + [[0, 0, 0]]
    assert dataset["test"].objects is not None
    assert dataset["test"].image(1).size == (dataset["test"].objects[1].width, dataset["test"].objects[1].height)


def test_images_may_lie_beside_the_file(notes: Path) -> None:
    """Images may lie beside the file of annotations, or in a folder for one role."""
    before = load_declared(notes).fingerprints
    content = coco_content(207, 2)
    write_listed_images(notes / "notes", content)
    write_json(notes / "notes/val.json", content)
    dataset = load_declared(notes, images=None, val="notes/val.json", train_images="images", test_images="images")
    assert list(dataset.splits) == ["train", "val", "test"]
    assert {role: dataset.fingerprints[role] for role in before} == before
    assert dataset["val"].image(0).size == (60, 44)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (
            {"test": "notes/nowhere.json"},
            r"mine's test is not in .*notes/nowhere.json; put it there, or correct .*toml",
        ),
        ({"images": "photos"}, r"mine's image folder of train is not in .*photos; put it there, or correct .*bob.toml"),
    ],
)
def test_an_absent_file_or_folder_is_missing(notes: Path, table: dict[str, str], says: str) -> None:
    """The error names the path and the file that declares it, and the settings are skipped."""
    with pytest.raises(MissingError, match=says):
        load_declared(notes, **table)


def renamed(old: str, new: str) -> Callable[[Json], None]:
    """Give a category another name."""

    def change(content: Json) -> None:
        content["categories"] = [
            {**one, "name": new if one["name"] == old else one["name"]} for one in content["categories"]
        ]

    return change


def other_id(content: Json) -> None:
    """Give the category car the id 2."""
    content["categories"] = [{**one, "id": 2 if one["id"] == 3 else one["id"]} for one in content["categories"]]
    content["annotations"] = []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            renamed("car", "lorry"),
            r"those of train: car \(id 3\) missing, lorry \(id 3\) not expected; correct one of them",
        ),
        (other_id, r"those of train: car \(id 3\) missing, car \(id 2\) not expected"),
        (
            lambda content: content["categories"].append({"id": 9, "name": "hat"}),
            r"those of train: hat \(id 9\) not expected;",
        ),
    ],
)
def test_the_categories_of_test_have_to_be_those_of_train(
    notes: Path, change: Callable[[Json], None], says: str
) -> None:
    """Test must have the ids and names of train's categories."""
    content = coco_content(107, 3)
    change(content)
    write_json(notes / "notes/test.json", content)
    with pytest.raises(BobError, match=f"mine's test: its categories are not {says}"):
        load_declared(notes)


def test_declared_classes_have_to_be_those_of_the_file(notes: Path) -> None:
    """The error names the declared classes that the file lacks and those of the file that are not declared."""
    with pytest.raises(
        BobError, match=r"the classes of .*bob.toml: boat missing, car, toothbrush not expected; correct one"
    ):
        load_declared(notes, classes=["boat", "person"])


def test_an_image_in_two_roles_is_refused(notes: Path) -> None:
    """An image in train and in test is refused."""
    with pytest.raises(BobError, match=r"mine: 0000000000\d\d.jpg is in train and in test"):
        load_declared(notes, test="notes/train.json")


def test_missing_images_are_named(notes: Path) -> None:
    """If more than one image in a hundred is missing, the error names the missing images."""
    (notes / "images/000000000108.jpg").unlink()
    with pytest.raises(BobError, match=r"mine's test: 1 of 3 images are not in .*images: 000000000108.jpg"):
        load_declared(notes)


def test_one_class_is_enough(notes: Path) -> None:
    """A dataset for detection may have a single class."""
    for role, first in (("train", 7), ("test", 107)):
        content = coco_content(first, 3)
        content["categories"] = [{"id": 1, "name": "person"}]
        content["annotations"] = [one for one in content["annotations"] if one["category_id"] == 1]
        write_json(notes / f"notes/{role}.json", content)
    dataset = load_declared(notes, classes=["person"])
    assert dataset["train"].targets.tolist() == [[1], [1], [0]]


def test_unchanged_images_are_not_read(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The annotations are read at each start, and only those images that have changed."""
    settle(monkeypatch)
    hashed = HashedFiles(monkeypatch)
    artifacts = Artifacts(notes / "artifacts")
    first = fingerprints("mine", artifacts, locations(notes))
    assert len(hashed.since_last()) == 7
    assert fingerprints("mine", artifacts, locations(notes)) == first
    assert hashed.since_last() == []
    write_image(notes / "images/000000000107.jpg", (50, 50))
    second = fingerprints("mine", artifacts, locations(notes))
    assert hashed.since_last() == ["000000000107.jpg"]
    assert (second["train"] == first["train"], second["test"] == first["test"]) == (True, False)
    write_json(notes / "notes/train.json", coco_content(7, 3))
    assert fingerprints("mine", artifacts, locations(notes))["train"] != first["train"]
    assert hashed.since_last() == []

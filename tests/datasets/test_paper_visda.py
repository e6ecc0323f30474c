"""Tests of `visda-2017`: images held out from training, and lists that must agree with the folders."""

import random
from pathlib import Path

import numpy as np
import pytest

from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper.visda import load_visda_2017
from bob_gauntlet.errors import BobError
from tests.helpers import dataset_trees as trees
from tests.helpers.dataset_trees import OBJECTS, write_class_folders


def test_rendered_images_are_divided(tmp_path: Path) -> None:
    """2% of each class, but at least one image, are source; photos are test; classes are sorted folder names."""
    write_class_folders(tmp_path / "visda-2017/train", OBJECTS[:2], 100, "{i:03}.png")
    write_class_folders(tmp_path / "visda-2017/train", OBJECTS[2:], 5, "{i:03}.png")
    write_class_folders(tmp_path / "visda-2017/validation", OBJECTS, 2)
    dataset = load_visda_2017(DataLocations(tmp_path))
    assert dataset.classes == OBJECTS
    assert np.bincount(dataset["source"].targets).tolist() == [2, 2, 1]
    assert np.bincount(dataset["train"].targets).tolist() == [98, 98, 4]
    assert np.bincount(dataset["test"].targets).tolist() == [2, 2, 2]
    drawn = sorted(random.Random(0).sample(range(100), 100)[:2])
    assert dataset["source"].ids[:2] == tuple(f"aeroplane/{i:03}.png" for i in drawn)
    assert not set(dataset["source"].ids) & set(dataset["train"].ids)


def test_lists_are_optional(tmp_path: Path) -> None:
    """Without image_list.txt the fingerprints are the same."""
    trees.visda_2017(tmp_path)
    with_lists = load_visda_2017(DataLocations(tmp_path)).fingerprints
    for path in tmp_path.rglob("image_list.txt"):
        path.unlink()
    assert load_visda_2017(DataLocations(tmp_path)).fingerprints == with_lists


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bus/validation_bus_1.jpg 1\n", "", r"disagree on bus/validation_bus_1.jpg"),
        ("bus/validation_bus_1.jpg 1\n", "bus/validation_bus_1.jpg 2\n", r"disagree on bus/validation_bus_1.jpg"),
        ("bus/validation_bus_1.jpg 1\n", "bus/other.jpg 1\n", r"disagree on bus/other.jpg"),
        ("bus/validation_bus_1.jpg 1\n", "bus/validation_bus_1.jpg\n", r"image_list.txt, line 7: not a path and"),
    ],
    ids=["unlisted image", "another label", "missing image", "no label"],
)
def test_a_list_that_disagrees_with_the_folders(old: str, new: str, message: str, tmp_path: Path) -> None:
    """The error names the first image on which they disagree, or the malformed line."""
    trees.visda_2017(tmp_path)
    path = tmp_path / "visda-2017/validation/image_list.txt"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(BobError, match=message):
        load_visda_2017(DataLocations(tmp_path))


def test_a_class_that_cannot_be_divided(tmp_path: Path) -> None:
    """A class with one rendered image raises an error that names the image."""
    write_class_folders(tmp_path / "visda-2017/train", OBJECTS[:2], 3)
    write_class_folders(tmp_path / "visda-2017/train", OBJECTS[2:], 1)
    write_class_folders(tmp_path / "visda-2017/validation", OBJECTS, 2)
    with pytest.raises(BobError, match=r"truck/truck_0.jpg is the only image of its class"):
        load_visda_2017(DataLocations(tmp_path))


def test_photos_of_another_class(tmp_path: Path) -> None:
    """The error names a class of photos that has no rendered images."""
    trees.visda_2017(tmp_path)
    (tmp_path / "visda-2017/validation/bus").rename(tmp_path / "visda-2017/validation/boat")
    with pytest.raises(BobError, match=r"visda-2017 validation: .* boat"):
        load_visda_2017(DataLocations(tmp_path))

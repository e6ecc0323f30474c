"""Images that two roles share."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.leaks import Leak, find_leaks, leak_lines
from bob_gauntlet.datasets.loading import limit_dataset, load
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.spec import UserDataset
from bob_gauntlet.scores.score import Score
from tests.helpers.tiny_images import write_colours


def split(role: str, contents: list[int]) -> Split:
    """Return images whose content is a number; 0 is an absent file. Numbers that differ by 100 share eight bytes."""
    digests = np.zeros((len(contents), 16), np.uint8)
    digests[:, 0] = [number % 100 for number in contents]
    digests[:, 15] = [number // 100 for number in contents]
    ids = tuple(f"{role}/{i}" for i in range(len(contents)))
    return Split(role, role, ids, np.zeros(len(ids), int), lambda i: Image.new("L", (1, 1)), ids, contents=digests)


CONTENTS = st.lists(st.sampled_from([0, 1, 2, 3, 101, 102, 203]), max_size=12)


@given(train=CONTENTS, test=CONTENTS)
def test_shared_images_are_those_of_a_plain_loop(train: list[int], test: list[int]) -> None:
    """Each image of test counts once, however many equal ones train has; absent files are equal to nothing."""
    leaks = find_leaks(Dataset("d", {"test": split("test", test), "train": split("train", train)}, ()))
    shared = [i for i, number in enumerate(test) if number and number in train]
    if not shared:
        assert leaks == []
        return
    [leak] = leaks
    assert (leak.role, leak.other, leak.count, leak.total) == ("test", "train", len(shared), len(test))
    assert leak.names == tuple((f"test/{i}", f"train/{train.index(test[i])}") for i in shared[:3])
    assert Leak.from_dict(leak.to_dict()) == leak


def test_all_roles_are_compared() -> None:
    """Every two roles are, except those that are rendered and have no files."""
    splits = {"train": split("train", [1]), "val": split("val", [1, 2]), "test": split("test", [1, 2])}
    leaks = find_leaks(Dataset("d", splits, ()))
    pairs = [(leak.role, leak.other, leak.count) for leak in leaks]
    assert pairs == [("val", "train", 1), ("test", "train", 1), ("test", "val", 2)]
    assert find_leaks(load("digits")) == []


@pytest.fixture
def leaky(tmp_path: Path) -> Dataset:
    """Eight images of test: a link to an image of train, a copy of one under another name, and six others."""
    train = write_colours(tmp_path / "train", {"cat": 4, "dog": 4})
    write_colours(tmp_path / "test", {"cat": 3, "dog": 3}, first=100)
    (tmp_path / "test/cat/linked.bmp").symlink_to(train[1])
    (tmp_path / "test/dog/copied.bmp").write_bytes(train[6].read_bytes())
    table = {"kind": "folder", "train": "train", "test": "test"}
    declared = UserDataset.from_table("mine", table, tmp_path, declared_in="bob.toml")
    return load("mine", DataLocations(tmp_path, user_datasets={"mine": declared}))


def test_links_and_copies_are_named(leaky: Dataset) -> None:
    """The line says how many there are, and which."""
    [leak] = find_leaks(leaky)
    line = (
        "mine: 2 of 8 images of test are copies of images of train, or links to them: "
        "cat/linked.bmp is cat/00001.bmp, dog/copied.bmp is dog/00002.bmp; remove them from one role"
    )
    assert leak.describe("mine") == line
    score = Score(setting="knn@mine", metric="top1", task="Cls", value=1.0, backbone="x")
    score.provenance["leaks"] = [leak.to_dict()]
    assert leak_lines([score, score]) == [line]


def test_a_limit_counts_what_is_left(leaky: Dataset) -> None:
    """The first two images of each class of test share nothing with train."""
    assert find_leaks(limit_dataset(leaky, 4)) == []

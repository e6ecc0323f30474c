"""Tests of loading a dataset by name, and of limiting a dataset."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.loading import limit_dataset, load
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.errors import MissingError, UsageError
from tests.helpers.dataset_trees import imagenet

MINI = sorted(name for name, spec in CATALOG.items() if spec.scale == "mini")


def split(targets: list[int] | np.ndarray, role: str = "train") -> Split:
    """Return examples of these classes; the image of example i has the red value i."""
    ids = tuple(f"{role}-{i}" for i in range(len(targets)))
    return Split(role, "f1", ids, np.asarray(targets), lambda i: Image.new("RGB", (1, 1), (i, 0, 0)), ids)


@pytest.mark.parametrize("name", MINI)
def test_every_mini_dataset_is_read_by_its_name(name: str) -> None:
    """The loaded dataset has the name asked for, and in every role unique ids and as many targets and clusters."""
    dataset = load(name)
    assert dataset.name == name
    for role, part in dataset.splits.items():
        assert part.role == role
        assert len(part) == len(set(part.ids)) == len(part.targets) == len(part.clusters)


def test_a_dataset_without_a_reader_is_missing_and_not_unknown() -> None:
    """A dataset without a reader raises MissingError, which skips its settings; a misspelt name is a UsageError."""
    with pytest.raises(MissingError, match="`bob data objectnet` describes it"):
        load("objectnet")
    with pytest.raises(UsageError, match="did you mean objectnet"):
        load("objectnett")


TARGETS = st.lists(st.integers(0, 6), min_size=1, max_size=60)


@settings(deadline=None)
@given(targets=TARGETS, limit=st.integers(1, 70))
def test_a_limit_is_kept_and_leaves_two_of_a_class(targets: list[int], limit: int) -> None:
    """At most `limit` examples are kept, in order; from a limit of 4 on each class keeps two, or all that it had."""
    dataset = Dataset("d", {"train": split(targets)}, classes=())
    kept = limit_dataset(dataset, limit)["train"]
    assert 1 <= len(kept) <= limit
    order = [int(one.split("-")[1]) for one in kept.ids]
    assert order == sorted(order)
    assert kept.targets.tolist() == [targets[i] for i in order]
    had, has = Counter(targets), Counter(kept.targets.tolist())
    if limit >= 4:
        assert all(count >= min(2, had[label]) for label, count in has.items())


@settings(deadline=None)
@given(targets=TARGETS)
def test_a_limit_above_all_drops_nothing(targets: list[int]) -> None:
    """A limit of twice the number of examples has room for every class, and drops nothing."""
    dataset = Dataset("d", {"train": split(targets)}, classes=())
    assert limit_dataset(dataset, 2 * len(targets) + 2)["train"].ids == dataset["train"].ids


def test_a_limited_split_has_its_own_images_and_fingerprint() -> None:
    """A limit of 4 keeps two examples of each of the first two classes, with their images, under a new fingerprint."""
    dataset = Dataset("d", {"test": split([0, 1, 2, 0, 0, 1], "test")}, classes=())
    kept = limit_dataset(dataset, 4)["test"]
    assert kept.ids == ("test-0", "test-1", "test-3", "test-5")
    assert [kept.image(i).getpixel((0, 0)) for i in range(4)] == [(i, 0, 0) for i in (0, 1, 3, 5)]
    other = limit_dataset(dataset, 2)["test"].fingerprint
    assert len({kept.fingerprint, other, "f1"}) == 3


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        *[(name, limit) for name in ("photos", "photos-instances") for limit in (4, 8, 30)],
        *[("digits", limit) for limit in (4, 8, 30)],
    ],
)
def test_limited_mini_datasets_can_still_be_measured(name: str, limit: int) -> None:
    """Every limited role keeps two examples of two classes or more; train or gallery has all tested classes."""
    dataset = limit_dataset(load(name), limit)
    for part in dataset.splits.values():
        assert len(part) <= limit
        assert len(set(part.targets.tolist())) >= 2
        assert min(Counter(part.targets.tolist()).values()) >= 2
    asked, known = ("query", "gallery") if "query" in dataset.splits else ("test", "train")
    assert set(dataset[asked].targets.tolist()) <= set(dataset[known].targets.tolist())


def test_multi_label_examples_are_cut_in_order() -> None:
    """Of multi-label examples the first `limit` are kept, since they have no single class."""
    targets = np.eye(6, 3, dtype=np.int64)
    dataset = Dataset("d", {"train": split(targets)}, classes=(), multi_label=True)
    assert limit_dataset(dataset, 4)["train"].ids == dataset["train"].ids[:4]


def test_images_with_objects_come_first() -> None:
    """Images without objects are kept only where there are too few with objects; the order stays."""
    targets = np.array([[0, 0], [1, 0], [0, 0], [1, 1], [0, 1]], np.uint8)
    objects = tuple(
        ImageObjects(9, 9, np.ones((len(labels), 4)), labels, np.ones(len(labels)), np.zeros(len(labels), bool))
        for labels in map(np.flatnonzero, targets)
    )
    dataset = Dataset("d", {"train": replace(split(targets), objects=objects)}, classes=("a", "b"), multi_label=True)
    for limit, kept_indices in ((1, [1]), (2, [1, 3]), (3, [1, 3, 4]), (4, [0, 1, 3, 4]), (9, [0, 1, 2, 3, 4])):
        kept = limit_dataset(dataset, limit)["train"]
        assert kept.ids == tuple(f"train-{i}" for i in kept_indices)
        assert kept.objects == tuple(objects[i] for i in kept_indices)


def test_a_limit_keeps_what_every_role_can_show() -> None:
    """Train keeps the only class that a test split has, as with ImageNet-A, which has few of the classes."""
    splits = {"train": split([0, 0, 1, 1, 2, 2]), "test": split([2, 2, 2], "test")}
    kept = limit_dataset(Dataset("d", splits, classes=("a", "b", "c")), 4)
    assert kept["train"].targets.tolist() == [2, 2]
    assert kept["test"].targets.tolist() == [2, 2, 2]
    apart = limit_dataset(Dataset("d", {"train": split([0, 1]), "test": split([2], "test")}, classes=()), 4)
    assert len(apart["train"]) == 2


def test_a_limit_keeps_subsets_within_what_is_left() -> None:
    """Subsets keep the positions of their examples that are left; a subset without any is dropped."""
    subsets = {"1%": np.array([4]), "10%": np.array([1, 3, 4])}
    dataset = Dataset("d", {"train": split([0, 0, 1, 1, 0])}, classes=(), subsets=subsets, restricted_classes=(0, 1))
    kept = limit_dataset(dataset, 4)
    assert kept["train"].ids == ("train-0", "train-1", "train-2", "train-3")
    assert {name: indices.tolist() for name, indices in kept.subsets.items()} == {"10%": [1, 3]}
    assert kept.restricted_classes == (0, 1)


def test_a_dataset_on_disk_is_read_from_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset is read from the given locations, or from those that the current folder's bob.toml declares."""
    imagenet(tmp_path / "d")
    locations = DataLocations(tmp_path / "d")
    assert len(load("imagenet-1k", locations)["train"]) == 24
    (tmp_path / "bob.toml").write_text('[datasets]\nimagenet-1k = "d/imagenet-1k"\n')
    monkeypatch.chdir(tmp_path)
    assert load("imagenet-1k").fingerprints == load("imagenet-1k", locations).fingerprints


def test_under_a_limit_one_head_serves_every_shift() -> None:
    """Train is limited as without the shift; source and test keep classes of both, trained ones if there are any."""
    train, source = split([0, 0, 1, 1, 2, 2, 3, 3]), split([0, 1, 2, 3] * 2, "source")
    unshifted = limit_dataset(Dataset("d", {"train": train, "test": source}, classes=()), 4)
    for tested, kept_classes in (([1, 1, 2, 2, 3], {1}), ([2, 3, 3], {2, 3}), ([0, 1], {0, 1})):
        shifted = limit_dataset(
            Dataset("s", {"train": train, "source": source, "test": split(tested, "test")}, classes=()), 4
        )
        assert shifted["train"].fingerprint == unshifted["train"].fingerprint
        assert set(shifted["test"].targets.tolist()) == set(shifted["source"].targets.tolist()) == kept_classes

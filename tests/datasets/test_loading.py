"""Loading by name, fingerprints without loading, and cutting a dataset short."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bob_gauntlet.artifacts import Artifacts
from bob_gauntlet.datasets import loading
from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.loading import fingerprints, limited, load
from bob_gauntlet.errors import MissingError, UsageError

MINI = sorted(name for name, spec in CATALOG.items() if spec.scale == "mini")


def split(targets: list[int] | np.ndarray, role: str = "train") -> Split:
    """Examples of those classes; the image of example i has the red value i."""
    ids = tuple(f"{role}-{i}" for i in range(len(targets)))
    return Split(role, "f1", ids, np.asarray(targets), lambda i: Image.new("RGB", (1, 1), (i, 0, 0)), ids)


@pytest.mark.parametrize("name", MINI)
def test_every_mini_dataset_is_read_by_its_name(name: str) -> None:
    """And says the same name; ids are unique, targets and clusters as long as they are."""
    dataset = load(name)
    assert dataset.name == name
    for role, found in dataset.splits.items():
        assert found.role == role
        assert len(found) == len(set(found.ids)) == len(found.targets) == len(found.clusters)


def test_a_dataset_without_a_reader_is_missing_not_unknown() -> None:
    """The setting is skipped with a reason; a misspelt name is an error."""
    with pytest.raises(MissingError, match="`bob data objectnet` says what it is"):
        load("objectnet")
    with pytest.raises(UsageError, match="did you mean objectnet"):
        load("objectnett")


def test_fingerprints_come_from_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second asker renders nothing; another version of a package that makes the pixels asks again."""
    artifacts = Artifacts(tmp_path)
    loaded: list[str] = []

    def counted(name: str) -> Dataset:
        loaded.append(name)
        return load(name)

    monkeypatch.setattr(loading, "load", counted)
    first = fingerprints("digits", artifacts)
    assert first == load("digits").fingerprints == fingerprints("digits", artifacts)
    assert loaded == ["digits"]
    monkeypatch.setattr(loading, "version", lambda package: "99")
    assert fingerprints("digits", artifacts) == first
    assert loaded == ["digits"] * 2


def test_an_absent_package_is_a_version_too(tmp_path: Path) -> None:
    """Noise needs none; asking does not fail."""
    assert fingerprints("noise", Artifacts(tmp_path)) == {}
    assert loading._version("no-such-package-of-ours") == "absent"


TARGETS = st.lists(st.integers(0, 6), min_size=1, max_size=60)


@settings(deadline=None)
@given(targets=TARGETS, limit=st.integers(1, 70))
def test_a_limit_is_kept_and_leaves_two_of_a_class(targets: list[int], limit: int) -> None:
    """At most that many, in order; from 4 on each class that is left keeps two, or all that it had."""
    dataset = Dataset("d", {"train": split(targets)}, classes=())
    kept = limited(dataset, limit)["train"]
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
    """Twice as many as there are examples leaves room for every class."""
    dataset = Dataset("d", {"train": split(targets)}, classes=())
    assert limited(dataset, 2 * len(targets) + 2)["train"].ids == dataset["train"].ids


def test_a_limited_split_shows_its_own_images_under_its_own_fingerprint() -> None:
    """Of the first two classes, 0 and 1, one each, then a second each: examples 0, 1 and 3, 5."""
    dataset = Dataset("d", {"test": split([0, 1, 2, 0, 0, 1], "test")}, classes=())
    kept = limited(dataset, 4)["test"]
    assert kept.ids == ("test-0", "test-1", "test-3", "test-5")
    assert [kept.image(i).getpixel((0, 0)) for i in range(4)] == [(i, 0, 0) for i in (0, 1, 3, 5)]
    other = limited(dataset, 2)["test"].fingerprint
    assert len({kept.fingerprint, other, "f1"}) == 3


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        *[(name, limit) for name in ("photos", "photos-instances") for limit in (4, 8, 30)],
        *[("digits", limit) for limit in (4, 8, 30)],
    ],
)
def test_limited_mini_datasets_can_still_be_measured(name: str, limit: int) -> None:
    """Two classes or more, and every class of a query or test image is among the gallery or training images."""
    dataset = limited(load(name), limit)
    for found in dataset.splits.values():
        assert len(found) <= limit
        assert len(set(found.targets.tolist())) >= 2
        assert min(Counter(found.targets.tolist()).values()) >= 2
    asked, known = ("query", "gallery") if "query" in dataset.splits else ("test", "train")
    assert set(dataset[asked].targets.tolist()) <= set(dataset[known].targets.tolist())


def test_multi_label_examples_are_cut_in_order() -> None:
    """(N, C) targets have no one class to go round."""
    targets = np.eye(6, 3, dtype=np.int64)
    dataset = Dataset("d", {"train": split(targets)}, classes=(), multi_label=True)
    assert limited(dataset, 4)["train"].ids == dataset["train"].ids[:4]

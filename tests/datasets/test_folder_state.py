"""Tests that changes of a folder are seen without looking at all of its files."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bob_gauntlet.datasets import folder_state as module
from bob_gauntlet.datasets.folder_state import folder_digest
from tests.helpers.dataset_trees import write_class_folders, write_noise_image

CHANGES: dict[str, Callable[[Path], object]] = {
    "added": lambda root: write_noise_image(root / "train/cat/new.jpg"),
    "removed": lambda root: (root / "train/cat/cat_0.jpg").unlink(),
    "renamed": lambda root: (root / "train/cat/cat_0.jpg").rename(root / "train/cat/cat_x.jpg"),
    "class added": lambda root: (root / "train/eel").mkdir(),
    "class renamed": lambda root: (root / "train/cat").rename(root / "train/cats"),
    "label file edited": lambda root: (root / "labels.txt").write_text("another"),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two roles of two classes, and a label file; all of them have the modification time 0."""
    for role in ("train", "val"):
        write_class_folders(tmp_path / "set" / role, ("cat", "dog"), 3)
    (tmp_path / "set/labels.txt").write_text("x")
    for path in [tmp_path / "set", *(tmp_path / "set").rglob("*")]:
        os.utime(path, (0, 0))
    return tmp_path / "set"


@pytest.mark.parametrize("files", [1_000, 2], ids=["few files", "many"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(root: Path, change: str, files: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest changes with every kind of change, also in a set of many files, whose folders have their times."""
    monkeypatch.setattr(module, "MAX_FILES", files)
    before = folder_digest(root)
    assert folder_digest(root) == before
    CHANGES[change](root)
    assert folder_digest(root) != before


def test_a_small_set_is_watched_file_by_file(root: Path) -> None:
    """In a small set the digest changes with a file's content, which no folder's time shows."""
    before = folder_digest(root)
    (root / "val/dog/dog_2.jpg").write_text("x")
    assert folder_digest(root) != before


def test_large_folders_are_not_read_to_their_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond MAX_FILES no file is looked at, and a change of a file's content is not seen."""
    monkeypatch.setattr(module, "MAX_FILES", 2)
    before = folder_digest(root)
    seen: list[str] = []

    @contextmanager
    def scandir(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
        with os_scandir(folder) as entries:
            yield (seen.append(entry.name) or entry for entry in entries)

    os_scandir = os.scandir
    monkeypatch.setattr(module.os, "scandir", scandir)
    (root / "val/dog/dog_2.jpg").write_text("x")
    assert folder_digest(root) == before
    assert len([name for name in seen if name.startswith("dog_")]) == 2  # the first of each of the two folders


def test_only_so_many_folders_are_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only MAX_FOLDERS folders are looked at, the upper ones first, so that a loop of links ends."""
    (root / "loop").symlink_to(root)
    monkeypatch.setattr(module, "MAX_FOLDERS", 3)
    before = folder_digest(root)
    write_noise_image(root / "train/new/x.jpg")
    assert folder_digest(root) != before


def test_an_absent_path_and_a_file_have_a_digest(tmp_path: Path) -> None:
    """A path that is absent, and then a file of two sizes, have three digests."""
    before = folder_digest(tmp_path / "x")
    (tmp_path / "x").write_text("a")
    file = folder_digest(tmp_path / "x")
    (tmp_path / "x").write_text("ab")
    assert len({before, file, folder_digest(tmp_path / "x")}) == 3

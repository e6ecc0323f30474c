"""Tests that changes below a folder are seen from the names, sizes and times of its files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bob_gauntlet.datasets.folder_state import folder_state
from tests.helpers.tiny_images import bmp, rewrite, settle, swap_contents, wait_for_the_clock, write_colours

NOW = 1 << 62

CHANGES: dict[str, Callable[[Path], object]] = {
    "added": lambda root: (root / "train/cat/new.bmp").write_bytes(b"x"),
    "removed": lambda root: (root / "train/cat/00000.bmp").unlink(),
    "renamed": lambda root: (root / "train/cat/00000.bmp").rename(root / "train/cat/x.bmp"),
    "class added": lambda root: (root / "train/eel").mkdir(),
    "class renamed": lambda root: (root / "train/cat").rename(root / "train/cats"),
    "label file edited": lambda root: rewrite(root / "labels.txt", b"y"),
    "first file edited": lambda root: rewrite(root / "train/cat/00000.bmp", bmp(1, 2, 3)),
    "last file edited": lambda root: rewrite(root / "val/dog/00599.bmp", bmp(1, 2, 3)),
    "time put back": lambda root: rewrite(root / "val/dog/00599.bmp", bmp(1, 2, 3), keep_time=True),
    "two files swapped": lambda root: swap_contents(
        [root / "val/cat/00010.bmp"], [root / "val/dog/00010.bmp"], keep_time=True
    ),
    "linked file edited": lambda root: rewrite(root.parent / "elsewhere.bmp", bmp(1, 2, 3)),
    "file in linked folder edited": lambda root: rewrite(root.parent / "far/cat/00000.bmp", bmp(1, 2, 3)),
    "link points elsewhere": lambda root: point(root / "train/dog/link.bmp", root.parent / "far/cat/00000.bmp"),
    "folder points elsewhere": lambda root: point(root / "again", root / "val"),
    "link points to nothing": lambda root: (root.parent / "elsewhere.bmp").unlink(),
}


def point(link: Path, target: Path) -> None:
    """Make a link point to another target."""
    link.unlink()
    link.symlink_to(target)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,205 images, more than were once looked at; a label file beside the folders, and links out of the folder."""
    root = tmp_path_factory.mktemp("state") / "set"
    write_colours(root / "train", {"cat": 3, "dog": 2})
    write_colours(root / "val", {"cat": 600, "dog": 600})
    (root / "labels.txt").write_text("x")
    (root.parent / "elsewhere.bmp").write_bytes(bmp(9, 9, 9))
    (root / "train/dog/link.bmp").symlink_to(root.parent / "elsewhere.bmp")
    write_colours(root.parent / "far", {"cat": 2})
    (root / "far").symlink_to(root.parent / "far")
    (root / "again").symlink_to(root / "train")
    (root / "loop").symlink_to(root)
    return root


def digest(root: Path) -> str:
    """Return the digest of a folder's state."""
    return folder_state(root, NOW).digest


@pytest.fixture
def copy(tree: Path, tmp_path: Path) -> Path:
    """A tree like `tree` for one test, with hard links to its files, which cost less than copies."""
    for path in tree.parent.rglob("*"):
        target = tmp_path / path.relative_to(tree.parent)
        if path.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(tmp_path / path.readlink().relative_to(tree.parent))
        elif path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    return tmp_path / "set"


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(copy: Path, change: str) -> None:
    """The digest changes with every kind of change, of any file of however many."""
    before = digest(copy)
    assert digest(copy) == before
    wait_for_the_clock()
    CHANGES[change](copy)
    assert digest(copy) != before


def test_hidden_names_and_times_of_folders_do_not_count(copy: Path) -> None:
    """As for the readers of the folders."""
    before = digest(copy)
    (copy / "train/cat/.x.bmp").write_bytes(b"x")
    (copy / ".cache").mkdir()
    (copy / ".cache/x").write_bytes(b"x")
    assert digest(copy) == before


def test_an_absent_path_and_a_file_have_a_state(tmp_path: Path) -> None:
    """A path that is absent, then a file of two sizes, then a folder, have four digests."""
    digests = {digest(tmp_path / "x")}
    (tmp_path / "x").write_text("a")
    digests.add(digest(tmp_path / "x"))
    (tmp_path / "x").write_text("ab")
    digests.add(digest(tmp_path / "x"))
    (tmp_path / "x").unlink()
    (tmp_path / "x").mkdir()
    assert len(digests | {digest(tmp_path / "x")}) == 4


def test_a_state_is_settled_if_all_files_are(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file that was changed a moment ago is enough: its next change might leave the same times."""
    times = [path.stat().st_ctime_ns for path in tree.rglob("*") if path.is_file()]
    assert not folder_state(tree, max(times) + 1_000_000_000).settled
    assert folder_state(tree, max(times) + 3_000_000_000).settled
    assert not folder_state(tree / "labels.txt", (tree / "labels.txt").stat().st_ctime_ns).settled
    settle(monkeypatch)
    assert folder_state(tree, max(times)).settled

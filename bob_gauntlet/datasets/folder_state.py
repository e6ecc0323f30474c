"""Detection of changes below a folder from the names, sizes and times of all of its files, without reading any."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from bob_gauntlet.datasets.file_stamps import ABSENT, Stamp, are_settled, file_stamp, stamp_array, stamp_of


@dataclass(frozen=True)
class FolderState:
    """The state of a folder or file: 32 hex digits, and whether any later change is certain to give other digits."""

    digest: str
    settled: bool


def folder_state(root: Path, now: int) -> FolderState:
    """Return the state of everything below `root` at the time `now` (ns since the epoch).

    The digest is a hash of the relative paths, sizes and times of all files, however many they are. Links are followed;
    a folder that is reached twice is listed once. Hidden names are ignored, as by the readers. `root` may also be a
    file, or be absent.

    >>> folder_state(Path("no such folder"), 0) == folder_state(Path("none such either"), 0)
    True
    """
    if not root.is_dir():
        return _state_of_file(root, now)
    sha, settled = hashlib.sha256(), True
    visited: set[tuple[int, int]] = set()
    folders = [""]
    while folders:
        folder = folders.pop()
        names, stamps, inner = _list_folder(root / folder, visited)
        sha.update(f"{folder}\n{len(names)}\n".encode("utf-8", "surrogateescape"))
        sha.update("\n".join(names).encode("utf-8", "surrogateescape"))
        array = stamp_array(stamps)
        sha.update(array.astype("<i8").tobytes())
        settled = settled and bool(are_settled(array, now).all())
        folders += [f"{folder}/{name}" if folder else name for name in inner]
    return FolderState(sha.hexdigest()[:32], settled)


def _state_of_file(path: Path, now: int) -> FolderState:
    """Return the state of one file, or of none."""
    array = stamp_array([file_stamp(path)])
    return FolderState(hashlib.sha256(array.astype("<i8").tobytes()).hexdigest()[:32], bool(are_settled(array, now)))


def _list_folder(folder: Path, visited: set[tuple[int, int]]) -> tuple[list[str], list[Stamp], list[str]]:
    """Return the sorted names of a folder's files with their stamps, and the sorted names of its folders.

    The folder is added to `visited`. Of a folder that is there already only its inode is returned, and nothing of a
    folder that cannot be listed.
    """
    names: list[str] = []
    stamps: list[Stamp] = []
    inner: list[str] = []
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:
            return [""], [(0, status.st_ino, 0)], inner
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            visible = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda one: one.name)
    except OSError:
        return names, stamps, inner
    for entry in visible:
        try:
            status = entry.stat()
        except OSError:
            # a link to nothing
            names.append(entry.name)
            stamps.append(ABSENT)
            continue
        if stat.S_ISDIR(status.st_mode):
            inner.append(entry.name)
        else:
            names.append(entry.name)
            stamps.append(stamp_of(status))
    return names, stamps, inner

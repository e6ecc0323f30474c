"""Whether a folder has changed, without looking at every file of a large one."""

import hashlib
import os
from collections import deque
from itertools import chain
from pathlib import Path

FOLDERS = 5_000
"""Folders that are looked at, the upper ones first."""

FILES = 1_000
"""Files that are looked at one by one; below them a folder of files is known by its name and time alone."""


def folder_digest(root: Path) -> str:
    """32 hex digits of what lies at `root`: they change when a file is added, removed or renamed.

    Names and times of its folders, and of files sizes and times too while they are few: in small sets and in label
    files near the top a change in place is seen as well. Hidden names are passed by.

    >>> folder_digest(Path("no such folder")) == folder_digest(Path("none such either"))
    True
    """
    sha = hashlib.sha256(_times(root).encode())
    folders, looked, files = deque([root]), 0, 0
    while folders and looked < FOLDERS:
        folder, looked = folders.popleft(), looked + 1
        sha.update(f"{folder.relative_to(root)}\t{_times(folder)}\n".encode())
        for entry in _entries(folder, whole=files <= FILES):
            if entry.is_dir():
                folders.append(folder / entry.name)
            elif (files := files + 1) <= FILES:
                sha.update(f"{entry.name}\t{_times(folder / entry.name)}\n".encode())
    return sha.hexdigest()[:32]


def _entries(folder: Path, *, whole: bool) -> list[os.DirEntry[str]]:
    """What a folder holds, by name; nothing where not the `whole` is asked for and the first entry is a file."""
    try:
        with os.scandir(folder) as entries:
            seen = (entry for entry in entries if not entry.name.startswith("."))
            first = next(seen, None)
            if first is None or (first.is_file() and not whole):
                return []
            return sorted(chain([first], seen), key=lambda entry: entry.name)
    except OSError:
        return []


def _times(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "absent"
    return f"{found.st_mtime_ns} {found.st_size}"

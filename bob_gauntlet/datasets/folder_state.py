"""Detection of changes in a folder without looking at every file of a large one."""

import hashlib
import os
from collections import deque
from itertools import chain
from pathlib import Path

MAX_FOLDERS = 5_000
"""Number of folders that are looked at; folders nearer to the root come first."""

MAX_FILES = 1_000
"""Number of files that are looked at one by one; after that, a folder whose first entry is a file is not listed."""


def folder_digest(root: Path) -> str:
    """Return 32 hex digits that change when a file below `root` is added, removed or renamed.

    They are a hash of the names and modification times of folders and, for the first MAX_FILES files, of the names,
    modification times and sizes of files. So in small datasets, and for label files near the root, a change of a file's
    content is seen as well. Hidden names are ignored. `root` may also be a file, or be absent.

    >>> folder_digest(Path("no such folder")) == folder_digest(Path("none such either"))
    True
    """
    sha = hashlib.sha256(_time_and_size(root).encode())
    folders, folder_count, file_count = deque([root]), 0, 0
    while folders and folder_count < MAX_FOLDERS:
        folder, folder_count = folders.popleft(), folder_count + 1
        sha.update(f"{folder.relative_to(root)}\t{_time_and_size(folder)}\n".encode())
        for entry in _entries(folder, list_files=file_count <= MAX_FILES):
            if entry.is_dir():
                folders.append(folder / entry.name)
            elif (file_count := file_count + 1) <= MAX_FILES:
                sha.update(f"{entry.name}\t{_time_and_size(folder / entry.name)}\n".encode())
    return sha.hexdigest()[:32]


def _entries(folder: Path, *, list_files: bool) -> list[os.DirEntry[str]]:
    """Return the entries of a folder by name; none if `list_files` is false and the first entry is a file."""
    try:
        with os.scandir(folder) as entries:
            visible = (entry for entry in entries if not entry.name.startswith("."))
            first = next(visible, None)
            if first is None or (first.is_file() and not list_files):
                return []
            return sorted(chain([first], visible), key=lambda entry: entry.name)
    except OSError:
        return []


def _time_and_size(path: Path) -> str:
    """Return the modification time and size of a file or folder, or "absent"."""
    try:
        status = path.stat()
    except OSError:
        return "absent"
    return f"{status.st_mtime_ns} {status.st_size}"

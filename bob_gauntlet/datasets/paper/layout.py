"""Functions shared by the readers: find the folder of a dataset, and select, rename and shuffle its files."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bob_gauntlet.datasets.image_folders import ImageFiles, is_nonempty_folder, missing_data_error
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.errors import BobError


def require_folder(name: str, locations: DataLocations) -> Path:
    """Return the folder of a dataset; MissingError where the folder does not exist or is empty."""
    root = locations.folder_of(name)
    if not is_nonempty_folder(root):
        raise missing_data_error(name, root)
    return root


def inner_folder(root: Path, *inner: str) -> Path:
    """Return the first folder of `inner` that exists below `root`, else `root`.

    An unpacked archive may have its own folder inside the folder of the dataset.
    """
    return next((root / name for name in inner if (root / name).is_dir()), root)


def first_file(folders: Sequence[Path], name: str) -> Path | None:
    """Return the first file with this name in the folders; None where no folder has one."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file without the empty ones; BobError where the file is not text."""
    try:
        return [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BobError(f"{path} cannot be read ({error}); get it again") from error


def select_files(files: ImageFiles, indices: Sequence[int] | np.ndarray) -> ImageFiles:
    """Return the files at `indices`, in the order of their paths."""
    selected = np.sort(np.asarray(indices, np.int64))
    return replace(
        files,
        paths=tuple(files.paths[i] for i in selected),
        stamps=files.stamps[selected],
        labels=files.labels[selected],
        stored_paths=tuple(files.stored_paths[i] for i in selected) if files.stored_paths else None,
    )


def relabel_files(files: ImageFiles, paths: Sequence[str], labels: np.ndarray, classes: Sequence[str]) -> ImageFiles:
    """Return the same files with other paths, labels and classes, sorted by the new paths.

    The images are still read from where the files are (`ImageFiles.stored_paths`).
    """
    order = sorted(range(len(paths)), key=paths.__getitem__)
    return ImageFiles(
        root=files.root,
        paths=tuple(paths[i] for i in order),
        stamps=files.stamps[order],
        labels=np.asarray(labels, np.int64)[order],
        classes=tuple(classes),
        stored_paths=tuple((files.stored_paths or files.paths)[i] for i in order),
    )


def shuffle_by_class(labels: np.ndarray) -> list[list[int]]:
    """Return the indices of each class that occurs, shuffled by a new `random.Random(0)` for each class.

    >>> shuffle_by_class(np.array([0, 1, 0, 0]))
    [[2, 3, 0], [1]]
    """
    indices_by_class = (np.flatnonzero(labels == label).tolist() for label in np.unique(labels))
    return [random.Random(0).sample(indices, len(indices)) for indices in indices_by_class]

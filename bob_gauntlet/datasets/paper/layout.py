"""What the readers share: finding a dataset's folder, and taking, renaming and dividing its files."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bob_gauntlet.datasets.image_folders import ImageFiles, is_nonempty_folder, missing_data_error
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.errors import BobError


def present(name: str, locations: DataLocations) -> Path:
    """The folder of a dataset; MissingError where it is not there or empty."""
    root = locations.folder_of(name)
    if not is_nonempty_folder(root):
        raise missing_data_error(name, root)
    return root


def unpacked(root: Path, *inner: str) -> Path:
    """The first of the folders `inner` that is below `root`, else `root`: an archive may bring a folder of its own."""
    return next((root / name for name in inner if (root / name).is_dir()), root)


def first_file(folders: Sequence[Path], name: str) -> Path | None:
    """The first file of that name in these folders."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def lines_of(path: Path) -> list[str]:
    """The lines of a text file, without the empty ones; BobError where it is no text."""
    try:
        return [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BobError(f"{path} cannot be read ({error}); get it anew") from error


def taken(files: ImageFiles, indices: Sequence[int] | np.ndarray) -> ImageFiles:
    """The files at `indices`, in the order of paths."""
    kept = np.sort(np.asarray(indices, np.int64))
    return replace(
        files,
        paths=tuple(files.paths[i] for i in kept),
        sizes=tuple(files.sizes[i] for i in kept),
        labels=files.labels[kept],
        stored_paths=tuple(files.stored_paths[i] for i in kept) if files.stored_paths else None,
    )


def renamed(files: ImageFiles, paths: Sequence[str], labels: np.ndarray, classes: Sequence[str]) -> ImageFiles:
    """The same files under other paths and labels, sorted by the new paths; they are read from where they are."""
    order = sorted(range(len(paths)), key=paths.__getitem__)
    return ImageFiles(
        root=files.root,
        paths=tuple(paths[i] for i in order),
        sizes=tuple(files.sizes[i] for i in order),
        labels=np.asarray(labels, np.int64)[order],
        classes=tuple(classes),
        stored_paths=tuple((files.stored_paths or files.paths)[i] for i in order),
    )


def shuffled(labels: np.ndarray) -> list[list[int]]:
    """The indices of each class that occurs, in a random order that `random.Random(0)` gives each class anew.

    >>> shuffled(np.array([0, 1, 0, 0]))
    [[2, 3, 0], [1]]
    """
    every = (np.flatnonzero(labels == label).tolist() for label in np.unique(labels))
    return [random.Random(0).sample(indices, len(indices)) for indices in every]

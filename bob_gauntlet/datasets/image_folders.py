"""Image files on disk: folders of class folders, files that a list names, and splits that read them lazily."""

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from bob_gauntlet.datasets.catalog import find_dataset
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.images import read_image
from bob_gauntlet.errors import BobError, MissingError, named, nearest

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
"""Endings of image files, in any case."""

MAX_HASHED_FILES = 1_000
"""Files up to which a split's fingerprint covers their content, not their sizes alone."""


@dataclass(frozen=True)
class ImageFiles:
    """Image files below a folder, with what they show.

    `paths` are relative to `root`, with slashes, sorted; `sizes` are in bytes; `labels` are (N,) int64 indices into
    `classes`, or (N, C) {0, 1} for multi-label. `stored` says where the files lie below `root` if it is not where
    `paths` say: two layouts of one dataset then give equal ids and fingerprints.
    """

    root: Path
    paths: tuple[str, ...]
    sizes: tuple[int, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    stored: tuple[str, ...] | None = None

    def file(self, index: int) -> Path:
        """Where an image lies."""
        return self.root / (self.stored or self.paths)[index]


def images_in_class_folders(root: Path, what: str, classes: Sequence[str] | None = None) -> ImageFiles:
    """The images in the class folders of `root`, labelled by folder; hidden files and other files are passed by.

    Labels index `classes`, else the sorted folder names. Raises BobError, in which `what` names the folder to the
    user, where there are no class folders or an empty one, a folder within one, names that differ by case or spaces
    alone, fewer than two classes, or a folder that is not in `classes`.
    """
    names = _folders(root, what)
    known = tuple(names if classes is None else classes)
    _check_names(names, known, what)
    if len(known) < 2:
        raise BobError(f"{what}: one class alone ({known[0]}) in {root}; a class is a folder, and two are needed")
    index = {name: number for number, name in enumerate(known)}
    found = sorted((f"{name}/{file}", size, index[name]) for name in names for file, size in _images(root / name, what))
    return ImageFiles(
        root,
        tuple(path for path, _, _ in found),
        tuple(size for _, size, _ in found),
        np.array([label for _, _, label in found], np.int64),
        known,
    )


def images_in_list(
    root: Path, what: str, paths: Sequence[str], labels: np.ndarray, classes: Sequence[str]
) -> ImageFiles:
    """The images that a list names by paths relative to `root`; sorted here, with their labels.

    Raises BobError where the list is empty, names a file twice, is not as long as its labels, or names a file that is
    not there: the first such.
    """
    if not paths or len(paths) != len(labels):
        raise BobError(f"{what}: {len(paths)} images and {len(labels)} labels; get its list of images anew")
    order = sorted(range(len(paths)), key=paths.__getitem__)
    for one, other in pairwise(order):
        if paths[one] == paths[other]:
            raise BobError(f"{what}: its list names {paths[one]} twice; keep one of the two lines")
    sizes = [_size(root / path, what) for path in paths]
    return ImageFiles(
        root,
        tuple(paths[i] for i in order),
        tuple(sizes[i] for i in order),
        np.asarray(labels, np.int64)[order],
        tuple(classes),
    )


def labelled_split(role: str, files: ImageFiles, clusters: Sequence[str] | None = None) -> Split:
    """Return a split that reads an image when it is asked for; the relative paths are its ids.

    The fingerprint covers paths, sizes, labels and classes; with at most MAX_HASHED_FILES files it also covers their
    content. It does not depend on the folder in which they lie. Without `clusters` every image is a cluster of its own.
    """
    return Split(
        role=role,
        fingerprint=_fingerprint(files),
        ids=files.paths,
        targets=files.labels,
        image=lambda i: read_image(files.file(i)),
        clusters=files.paths if clusters is None else tuple(clusters),
    )


def missing_data_error(name: str, path: Path) -> MissingError:
    """The reason for which a setting is skipped whose data are not at `path`: how to get them, and what to type."""
    spec = find_dataset(name)
    return MissingError(
        f"{name} is not in {path}; get it from {spec.how_to_get} (licence: {spec.licence}); "
        f"`bob data {name}` shows the layout and checks it"
    )


def is_image(name: str) -> bool:
    """Whether a file of that name is taken for an image: a known ending, and not hidden.

    >>> is_image("a.JPEG"), is_image("._a.jpg"), is_image("list.txt")
    (True, False, False)
    """
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def is_nonempty_folder(folder: Path) -> bool:
    """Whether a folder is there and holds something."""
    return folder.is_dir() and any(folder.iterdir())


def _folders(root: Path, what: str) -> list[str]:
    """The sorted names of the class folders."""
    names = sorted(entry.name for entry in _entries(root, what) if entry.is_dir())
    if not names:
        raise BobError(f"{what}: no class folders in {root}; it has to hold a folder of images a class")
    return names


def _check_names(names: Sequence[str], known: Sequence[str], what: str) -> None:
    """BobError where two folders could be one class, or one is of no known class."""
    seen: dict[str, str] = {}
    for name in names:
        plain = unicodedata.normalize("NFC", name).strip().casefold()
        if plain in seen:
            raise BobError(f"{what}: {seen[plain]!r} and {name!r} are one class or two? rename one of the folders")
        seen[plain] = name
    strange = sorted(set(names) - set(known))
    if strange:
        raise BobError(
            f"{what}: {len(strange)} of {len(names)} class folders are not among the {len(known)} classes of train: "
            f"{named(strange)}{nearest(strange[0], known, 1)}"
        )


def _images(folder: Path, what: str) -> Iterator[tuple[str, int]]:
    """Name and size of every image of a class folder."""
    count = 0
    for entry in _entries(folder, what):
        if entry.is_dir():
            raise BobError(f"{what}: a folder within class folder {folder.name}: {entry.name}; move its images up")
        if is_image(entry.name):
            count += 1
            yield entry.name, _size(Path(entry.path), what)
    if not count:
        raise BobError(f"{what}: no image in class folder {folder}; remove it, or fill it")


def _entries(folder: Path, what: str) -> list[os.DirEntry[str]]:
    """What a folder holds, without hidden names."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise BobError(f"{what}: {folder} cannot be read ({error.strerror}); it has to be a folder") from error


def _size(path: Path, what: str) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise BobError(f"{what}: {path} cannot be found ({error.strerror}); put it there") from error


def _fingerprint(files: ImageFiles) -> str:
    """16 hex digits."""
    sha = hashlib.sha256("\n".join(files.classes).encode())
    sha.update("\n".join(f"{path}\t{size}" for path, size in zip(files.paths, files.sizes, strict=True)).encode())
    sha.update(np.ascontiguousarray(files.labels, "<i8").tobytes())
    if len(files.paths) <= MAX_HASHED_FILES:
        for index in range(len(files.paths)):
            sha.update(_content(files.file(index)))
    return sha.hexdigest()[:16]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BobError(f"{path} cannot be read ({error.strerror}); mend it or take it out") from error

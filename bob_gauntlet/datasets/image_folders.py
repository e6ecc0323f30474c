"""Labelled image files in class folders or named by a list, and splits that read an image when it is asked for."""

import hashlib
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bob_gauntlet.datasets.catalog import find_dataset
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.file_hashes import FileHashes
from bob_gauntlet.datasets.file_stamps import Stamp, stamp_array, stamp_of
from bob_gauntlet.datasets.image_reader import ImageReader
from bob_gauntlet.datasets.images import image_endings
from bob_gauntlet.errors import BobError, MissingError, named, nearest

if TYPE_CHECKING:
    from hashlib import _Hash

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageFiles:
    """Labelled image files below a folder.

    `paths` are relative to `root`, with slashes, and sorted. `stamps` are the (N, 3) sizes and times of the files.
    `labels` are (N,) int64 indices into `classes`, or (N, C) {0, 1} for multi-label. `stored_paths` says where the
    files lie below `root` if that differs from `paths`; so two layouts of one dataset can give equal ids and
    fingerprints.
    """

    root: Path
    paths: tuple[str, ...]
    stamps: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    stored_paths: tuple[str, ...] | None = None

    @property
    def reader(self) -> ImageReader:
        """The function that reads an image of these files."""
        return ImageReader(self.root, self.stored_paths or self.paths, self.stamps)


def images_in_class_folders(root: Path, what: str, classes: Sequence[str] | None = None) -> ImageFiles:
    """Return the images in the class folders of `root`, labelled by folder; other files and hidden names are ignored.

    A file is taken for an image by its ending, and a warning counts the other files. Labels are indices into `classes`,
    else into the sorted folder names. Raises BobError, in which `what` names the folder to the user, where there are no
    class folders, a class folder has no images or has a folder in it, two folder names differ only by case or spaces,
    there are fewer than two classes, or a folder is not in `classes`.
    """
    names = _class_folder_names(root, what)
    known = tuple(names if classes is None else classes)
    _check_names(names, known, what)
    if len(known) < 2:
        raise BobError(f"{what}: only one class ({known[0]}) in {root}; a class is a folder, and two are needed")
    label_of_class = {name: label for label, name in enumerate(known)}
    ignored: Counter[str] = Counter()
    files = sorted(
        (f"{name}/{file}", stamp, label_of_class[name])
        for name in names
        for file, stamp in _images(root / name, what, ignored)
    )
    if ignored:
        log.warning(
            "%s: %s files in the class folders of %s are ignored, since Pillow reads no images with these endings: %s",
            what, f"{ignored.total():,}", root, _describe_endings(ignored),
        )  # fmt: skip
    return ImageFiles(
        root,
        tuple(path for path, _, _ in files),
        stamp_array([stamp for _, stamp, _ in files]),
        np.array([label for _, _, label in files], np.int64),
        known,
    )


def images_in_list(
    root: Path, what: str, paths: Sequence[str], labels: np.ndarray, classes: Sequence[str]
) -> ImageFiles:
    """Return the images at `paths`, relative to `root`, with their labels; both are sorted by path here.

    Raises BobError, in which `what` names the list to the user, where the list is empty, has not as many labels as
    paths, names a file twice, or names a file that does not exist; the message names the first such file.
    """
    if not paths or len(paths) != len(labels):
        raise BobError(f"{what}: {len(paths)} images and {len(labels)} labels; get its list of images again")
    order = sorted(range(len(paths)), key=paths.__getitem__)
    for one, other in pairwise(order):
        if paths[one] == paths[other]:
            raise BobError(f"{what}: its list names {paths[one]} twice; keep one of the two lines")
    stamps = stamp_array([_stamp(root / path, what) for path in paths])
    return ImageFiles(
        root,
        tuple(paths[i] for i in order),
        stamps[order],
        np.asarray(labels, np.int64)[order],
        tuple(classes),
    )


def labelled_split(
    role: str, files: ImageFiles, clusters: Sequence[str] | None = None, *, hashes: FileHashes | None = None
) -> Split:
    """Return a split that reads an image when it is asked for; the relative paths are its ids.

    The fingerprint covers paths, labels, classes and the content of the files, which is hashed by `hashes`. It does
    not depend on the folder in which they lie. Without `clusters` every image is a cluster of its own.
    """
    reader = files.reader
    fingerprint, contents = (hashes or FileHashes()).fingerprint(_describe(files), reader, f"images of {role}")
    return Split(
        role=role,
        fingerprint=fingerprint,
        ids=files.paths,
        targets=files.labels,
        image=reader,
        clusters=files.paths if clusters is None else tuple(clusters),
        contents=contents,
    )


def missing_data_error(name: str, path: Path) -> MissingError:
    """Return the error for a dataset that is not at `path`; it says how to get it and what to type.

    Settings on the dataset are skipped with this message.
    """
    spec = find_dataset(name)
    return MissingError(
        f"{name} is not in {path}; get it from {spec.how_to_get} (licence: {spec.licence}); "
        f"`bob data {name}` shows the layout and checks it"
    )


def is_image(name: str) -> bool:
    """Return whether a file is taken for an image, by its name: Pillow reads its ending, and it is not hidden.

    >>> is_image("a.JPEG"), is_image("a.jfif"), is_image("._a.jpg"), is_image("list.txt")
    (True, True, False, False)
    """
    return _ending(name) in image_endings() and not name.startswith(".")


def is_nonempty_folder(folder: Path) -> bool:
    """Return whether a folder exists and is not empty."""
    return folder.is_dir() and any(folder.iterdir())


def _class_folder_names(root: Path, what: str) -> list[str]:
    """Return the sorted names of the class folders."""
    names = sorted(entry.name for entry in _visible_entries(root, what) if entry.is_dir())
    if not names:
        raise BobError(f"{what}: no class folders in {root}; it has to hold a folder of images for each class")
    return names


def _check_names(names: Sequence[str], known: Sequence[str], what: str) -> None:
    """Raise BobError where two folder names differ only by case or spaces, or a folder is of no known class."""
    name_of_plain: dict[str, str] = {}
    for name in names:
        plain = unicodedata.normalize("NFC", name).strip().casefold()
        if plain in name_of_plain:
            raise BobError(
                f"{what}: class folders {name_of_plain[plain]!r} and {name!r} differ only by case or spaces; "
                "rename or merge them"
            )
        name_of_plain[plain] = name
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise BobError(
            f"{what}: {len(unknown)} of {len(names)} class folders are not among the {len(known)} classes of train: "
            f"{named(unknown)}{nearest(unknown[0], known, 1)}"
        )


def _ending(name: str) -> str:
    """Return the ending of a file's name in lower case, with its dot; "" where it has none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _describe_endings(counts: "Counter[str]") -> str:
    """Return how often each ending occurs, the most frequent first.

    >>> _describe_endings(Counter({".txt": 2, ".heic": 20, "": 1}))
    '.heic 20, .txt 2, without an ending 1'
    """
    return named([f"{ending or 'without an ending'} {count:,}" for ending, count in counts.most_common()], most=8)


def _images(folder: Path, what: str, ignored: "Counter[str]") -> Iterator[tuple[str, Stamp]]:
    """Yield name and stamp of every image of a class folder; add the endings of other files to `ignored`."""
    count, others = 0, Counter[str]()
    for entry in _visible_entries(folder, what):
        if entry.is_dir():
            raise BobError(
                f"{what}: class folder {folder.name} has a folder {entry.name} in it; move its images one folder up"
            )
        if is_image(entry.name):
            count += 1
            yield entry.name, _stamp(entry, what)
        else:
            others[_ending(entry.name)] += 1
    ignored.update(others)
    if not count and others:
        raise BobError(
            f"{what}: no image in class folder {folder}, but files with endings that Pillow does not read "
            f"({_describe_endings(others)}); convert them"
        )
    if not count:
        raise BobError(f"{what}: no image in class folder {folder}; remove the folder, or add images")


def _visible_entries(folder: Path, what: str) -> list[os.DirEntry[str]]:
    """Return the entries of a folder without those with hidden names; raise BobError where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise BobError(f"{what}: {folder} cannot be read ({error.strerror}); it has to be a folder") from error


def _stamp(file: "Path | os.DirEntry[str]", what: str) -> Stamp:
    """Return the stamp of a file; raise BobError where there is no such file."""
    try:
        return stamp_of(file.stat())
    except OSError as error:
        raise BobError(f"{what}: {os.fspath(file)} cannot be found ({error.strerror}); put it there") from error


def _describe(files: ImageFiles) -> "_Hash":
    """Return the SHA-256 of classes, paths, sizes and labels: of all that identifies the files except their content."""
    sha = hashlib.sha256("\n".join(files.classes).encode())
    sizes = files.stamps[:, 0].tolist()
    sha.update("\n".join(f"{path}\t{size}" for path, size in zip(files.paths, sizes, strict=True)).encode())
    sha.update(np.ascontiguousarray(files.labels, "<i8").tobytes())
    return sha

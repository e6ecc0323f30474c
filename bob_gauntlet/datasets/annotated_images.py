"""Image files with annotated objects, and splits that read such an image when it is asked for."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.image_folders import MAX_HASHED_FILES
from bob_gauntlet.datasets.images import MAX_UNREADABLE_SHARE, read_bytes, read_image
from bob_gauntlet.datasets.objects import ImageObjects, Mask
from bob_gauntlet.errors import BobError, named


@dataclass(frozen=True)
class AnnotatedImages:
    """Image files and the annotated objects of each; `paths` are relative to the folder `root`, with slashes."""

    root: Path
    paths: tuple[str, ...]
    objects: tuple[ImageObjects, ...]


@dataclass(frozen=True)
class ImageReader:
    """The function `image` of a split of annotated images: it reads image i of `paths`.

    `missing` are those of the paths that have no file; `sizes` are (width, height) as annotated.
    """

    root: Path
    paths: tuple[str, ...]
    missing: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]

    def __call__(self, index: int) -> Image.Image:
        """Read an image as RGB, upright as annotated; a missing or broken file raises UnreadableImage."""
        return read_image(self.root / self.paths[index], self.sizes[index])


def annotated_split(role: str, what: str, images: AnnotatedImages, classes: Sequence[str]) -> Split:
    """Return the split of these images, sorted by path; the paths are its ids, its targets are (N, C) uint8 {0, 1}.

    The fingerprint covers paths, file sizes, objects and classes; with at most MAX_HASHED_FILES images it also covers
    their content. It does not depend on the folder in which they lie. An image whose file is missing stays in the split
    and cannot be read. Raises BobError, in which `what` names the images to the user, where more than the share
    MAX_UNREADABLE_SHARE of them is missing, where there are no images, or where a path is listed twice.
    """
    order = sorted(range(len(images.paths)), key=images.paths.__getitem__)
    paths = tuple(images.paths[i] for i in order)
    objects = tuple(images.objects[i] for i in order)
    if not paths:
        raise BobError(f"{what}: no images; get its annotations again")
    for path, next_path in pairwise(paths):
        if path == next_path:
            raise BobError(f"{what}: {path} is listed twice; keep one of the two")
    file_sizes = [_file_size(images.root / path) for path in paths]
    missing = tuple(path for path, size in zip(paths, file_sizes, strict=True) if size < 0)
    if len(missing) > MAX_UNREADABLE_SHARE * len(paths):
        raise BobError(
            f"{what}: {len(missing):,} of {len(paths):,} images are not in {images.root}: {named(missing)}; "
            f"at most {MAX_UNREADABLE_SHARE:.0%} may be missing: put them there"
        )
    reader = ImageReader(images.root, paths, missing, tuple((one.width, one.height) for one in objects))
    fingerprint = _fingerprint(reader, file_sizes, objects, classes)
    return Split(
        role, fingerprint, paths, multi_hot_targets(objects, len(classes)), reader, clusters=paths, objects=objects
    )


def multi_hot_targets(objects: Sequence[ImageObjects], classes: int) -> np.ndarray:
    """Return (N, C) uint8 {0, 1} that say which classes are annotated on each image."""
    targets = np.zeros((len(objects), classes), np.uint8)
    for row, one in zip(targets, objects, strict=True):
        row[one.labels] = 1
    return targets


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height of the upright image in a file, from its header alone.

    Raises BobError where the file is absent or no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            # with the EXIF orientations 5 to 8 the upright image is turned by a quarter
            is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return (height, width) if is_turned else (width, height)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BobError(
            f"the size of {path} cannot be read ({error or type(error).__name__}); put the image there"
        ) from error


def _file_size(path: Path) -> int:
    """Return the size of a file in bytes, -1 where there is no such file."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _fingerprint(
    reader: ImageReader, file_sizes: Sequence[int], objects: Sequence[ImageObjects], classes: Sequence[str]
) -> str:
    """Return the 16 hex digits that identify these images and annotations."""
    sha = hashlib.sha256("\n".join(classes).encode())
    sha.update("\n".join(f"{path}\t{size}" for path, size in zip(reader.paths, file_sizes, strict=True)).encode())
    for one in objects:
        sha.update(_object_bytes(one))
    if len(reader.paths) <= MAX_HASHED_FILES:
        for path, size in zip(reader.paths, file_sizes, strict=True):
            if size >= 0:
                sha.update(read_bytes(reader.root / path))
    return sha.hexdigest()[:16]


def _object_bytes(objects: ImageObjects) -> bytes:
    """Encode all annotations of an image; lengths come first, so that no two annotations have the same bytes."""
    federated = (objects.negative, objects.incomplete)
    counts = [objects.width, objects.height, len(objects), len(objects.masks), *map(len, federated)]
    return b"".join(
        [
            _integer_bytes(
                [*counts, *chain.from_iterable(federated), *objects.labels.tolist(), *objects.crowd.tolist()]
            ),
            np.ascontiguousarray(objects.boxes, "<f8").tobytes(),
            np.ascontiguousarray(objects.areas, "<f8").tobytes(),
            *map(_mask_bytes, objects.masks),
        ]
    )


def _mask_bytes(mask: Mask) -> bytes:
    """Encode a mask as a number for its kind (polygons, run lengths or their compressed text), lengths and values."""
    if isinstance(mask, list):
        values = np.array(list(chain.from_iterable(mask)), "<f8")
        return _integer_bytes([0, len(mask), *map(len, mask)]) + values.tobytes()
    counts: Any = mask["counts"]
    if isinstance(counts, list):
        return _integer_bytes([1, *mask["size"], len(counts), *counts])
    text = counts if isinstance(counts, bytes) else counts.encode()
    return _integer_bytes([2, *mask["size"], len(text)]) + text


def _integer_bytes(values: list[int]) -> bytes:
    """Encode integers as little-endian int64."""
    return np.array(values, "<i8").tobytes()

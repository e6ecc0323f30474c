"""Image files with annotated objects, and splits that read such an image when it is asked for."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image

from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.file_hashes import FileHashes
from bob_gauntlet.datasets.file_stamps import file_stamp, stamp_array
from bob_gauntlet.datasets.image_reader import ImageReader
from bob_gauntlet.datasets.images import MAX_UNREADABLE_SHARE
from bob_gauntlet.datasets.objects import ImageObjects, Mask
from bob_gauntlet.errors import BobError, named

if TYPE_CHECKING:
    from hashlib import _Hash


@dataclass(frozen=True)
class AnnotatedImages:
    """Image files and the annotated objects of each; `paths` are relative to the folder `root`, with slashes."""

    root: Path
    paths: tuple[str, ...]
    objects: tuple[ImageObjects, ...]


def annotated_split(
    role: str, what: str, images: AnnotatedImages, classes: Sequence[str], hashes: FileHashes | None = None
) -> Split:
    """Return the split of these images, sorted by path; the paths are its ids, its targets are (N, C) uint8 {0, 1}.

    The fingerprint covers paths, objects, classes and the content of the files, which is hashed by `hashes`. It does
    not depend on the folder in which they lie. An image whose file is missing stays in the split and cannot be read.
    Raises BobError, in which `what` names the images to the user, where more than the share MAX_UNREADABLE_SHARE of
    them is missing, where there are no images, or where a path is listed twice.
    """
    order = sorted(range(len(images.paths)), key=images.paths.__getitem__)
    paths = tuple(images.paths[i] for i in order)
    objects = tuple(images.objects[i] for i in order)
    if not paths:
        raise BobError(f"{what}: no images; get its annotations again")
    for path, next_path in pairwise(paths):
        if path == next_path:
            raise BobError(f"{what}: {path} is listed twice; keep one of the two")
    stamps = stamp_array([file_stamp(images.root / path) for path in paths])
    reader = ImageReader(images.root, paths, stamps, tuple((one.width, one.height) for one in objects))
    missing = reader.missing
    if len(missing) > MAX_UNREADABLE_SHARE * len(paths):
        raise BobError(
            f"{what}: {len(missing):,} of {len(paths):,} images are not in {images.root}: {named(missing)}; "
            f"at most {MAX_UNREADABLE_SHARE:.0%} may be missing: put them there"
        )
    described = _describe(reader, objects, classes)
    fingerprint, contents = (hashes or FileHashes()).fingerprint(described, reader, f"images of {role}")
    targets = multi_hot_targets(objects, len(classes))
    return Split(role, fingerprint, paths, targets, reader, clusters=paths, objects=objects, contents=contents)


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


def _describe(reader: ImageReader, objects: Sequence[ImageObjects], classes: Sequence[str]) -> "_Hash":
    """Return the SHA-256 of classes, paths, sizes and objects: of all that identifies the images but their content."""
    sha = hashlib.sha256("\n".join(classes).encode())
    sizes = reader.stamps[:, 0].tolist()
    sha.update("\n".join(f"{path}\t{size}" for path, size in zip(reader.paths, sizes, strict=True)).encode())
    for one in objects:
        sha.update(_object_bytes(one))
    return sha


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

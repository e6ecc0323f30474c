"""Image files with annotated objects, and splits of them that read an image when it is asked for."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.image_folders import MAX_HASHED_FILES
from bob_gauntlet.datasets.images import MAX_UNREADABLE_SHARE, read_image
from bob_gauntlet.datasets.objects import ImageObjects, Mask
from bob_gauntlet.errors import BobError, named

_ORIENTATION = 0x0112


@dataclass(frozen=True)
class AnnotatedImages:
    """Image files below a folder, `paths` relative to it and with slashes, and what is annotated on each."""

    root: Path
    paths: tuple[str, ...]
    objects: tuple[ImageObjects, ...]


@dataclass(frozen=True)
class ImageReader:
    """What a split of annotated images reads: image i of `paths`; those of `missing` have no file.

    `sizes` are (width, height) as annotated.
    """

    root: Path
    paths: tuple[str, ...]
    missing: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]

    def __call__(self, index: int) -> Image.Image:
        """RGB, the way up that was annotated; UnreadableImage where the file is missing or broken."""
        return read_image(self.root / self.paths[index], self.sizes[index])


def annotated_split(role: str, what: str, found: AnnotatedImages, classes: Sequence[str]) -> Split:
    """Return the split of these images, sorted by path; the paths are its ids, its targets are (N, C) uint8 {0, 1}.

    The fingerprint covers paths, file sizes, objects and classes; with at most MAX_HASHED_FILES images it also covers
    their content. It does not depend on the folder in which they lie. An image whose file is missing stays in the split
    and cannot be read. Raises BobError, in which `what` names the images to the user, where more than the share
    MAX_UNREADABLE_SHARE of them is missing, where there are no images, or where a path is listed twice.
    """
    order = sorted(range(len(found.paths)), key=found.paths.__getitem__)
    paths = tuple(found.paths[i] for i in order)
    objects = tuple(found.objects[i] for i in order)
    if not paths:
        raise BobError(f"{what}: no images; get its annotations anew")
    for one, other in pairwise(paths):
        if one == other:
            raise BobError(f"{what}: {one} is listed twice; keep one of the two")
    sizes = [_size(found.root / path) for path in paths]
    missing = tuple(path for path, size in zip(paths, sizes, strict=True) if size < 0)
    if len(missing) > MAX_UNREADABLE_SHARE * len(paths):
        raise BobError(
            f"{what}: {len(missing):,} of {len(paths):,} images are not in {found.root}: {named(missing)}; "
            f"at most {MAX_UNREADABLE_SHARE:.0%} may be missing: put them there"
        )
    images = ImageReader(found.root, paths, missing, tuple((one.width, one.height) for one in objects))
    fingerprint = _fingerprint(images, sizes, objects, classes)
    return Split(
        role, fingerprint, paths, multi_hot_targets(objects, len(classes)), images, clusters=paths, objects=objects
    )


def multi_hot_targets(objects: Sequence[ImageObjects], classes: int) -> np.ndarray:
    """(N, C) uint8 {0, 1}: which classes are annotated on each image."""
    targets = np.zeros((len(objects), classes), np.uint8)
    for row, one in zip(targets, objects, strict=True):
        row[one.labels] = 1
    return targets


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright image in a file, from its header alone; BobError where there is none."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            # the orientations from 5 on lie on their side
            return (height, width) if image.getexif().get(_ORIENTATION, 1) >= 5 else (width, height)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BobError(
            f"{path} ({error or type(error).__name__}) does not say its size; put the image there"
        ) from error


def _size(path: Path) -> int:
    """Bytes; -1 where there is no such file."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _fingerprint(
    images: ImageReader, sizes: Sequence[int], objects: Sequence[ImageObjects], classes: Sequence[str]
) -> str:
    """16 hex digits."""
    sha = hashlib.sha256("\n".join(classes).encode())
    sha.update("\n".join(f"{path}\t{size}" for path, size in zip(images.paths, sizes, strict=True)).encode())
    for one in objects:
        sha.update(_bytes(one))
    if len(images.paths) <= MAX_HASHED_FILES:
        for path, size in zip(images.paths, sizes, strict=True):
            if size >= 0:
                sha.update(_content(images.root / path))
    return sha.hexdigest()[:16]


def _bytes(objects: ImageObjects) -> bytes:
    """All that is annotated on an image; lengths first, so that no two annotations have the same bytes."""
    federated = (objects.negative, objects.incomplete)
    counts = [objects.width, objects.height, len(objects), len(objects.masks), *map(len, federated)]
    return b"".join(
        [
            _integers([*counts, *chain.from_iterable(federated), *objects.labels.tolist(), *objects.crowd.tolist()]),
            np.ascontiguousarray(objects.boxes, "<f8").tobytes(),
            np.ascontiguousarray(objects.areas, "<f8").tobytes(),
            *map(_mask_bytes, objects.masks),
        ]
    )


def _mask_bytes(mask: Mask) -> bytes:
    """A kind, lengths and values: of polygons, run lengths or their compressed text."""
    if isinstance(mask, list):
        values = np.array(list(chain.from_iterable(mask)), "<f8")
        return _integers([0, len(mask), *map(len, mask)]) + values.tobytes()
    counts: Any = mask["counts"]
    if isinstance(counts, list):
        return _integers([1, *mask["size"], len(counts), *counts])
    text = counts if isinstance(counts, bytes) else counts.encode()
    return _integers([2, *mask["size"], len(text)]) + text


def _integers(values: list[int]) -> bytes:
    return np.array(values, "<i8").tobytes()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BobError(f"{path} cannot be read ({error.strerror}); mend it or take it out") from error

"""Reading a file of annotations in COCO's format: JSON with lists of images, annotations and categories.

What one annotation says wrongly stops the reading, in one line that names it. Crowds, boxes without area and boxes that
reach outside their image are kept as annotated. Ids of categories may have gaps: class k is the k-th of them by id.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bob_gauntlet.datasets.annotated_images import AnnotatedImages, image_size
from bob_gauntlet.datasets.objects import ImageObjects, Mask
from bob_gauntlet.errors import BobError

Record = Mapping[str, Any]
"""An entry of one of the three lists."""

_Federated = tuple[tuple[int, ...], tuple[int, ...]]

_NEEDED = frozenset(("image_id", "category_id", "bbox"))


@dataclass(frozen=True)
class Category:
    """A class of a file, and how often it is annotated in LVIS: "r", "c" or "f"; "" where the file does not say."""

    id: int
    name: str
    frequency: str = ""


@dataclass(frozen=True)
class CocoFile:
    """The images that a file lists, with their objects, and its categories in the order of their ids."""

    images: AnnotatedImages
    categories: tuple[Category, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the categories."""
        return tuple(category.name for category in self.categories)

    @property
    def frequencies(self) -> tuple[str, ...]:
        """Of each class; () unless the file says it of all."""
        found = tuple(category.frequency for category in self.categories)
        return found if all(found) else ()


def file_name(record: Record) -> str:
    """The path of an image in most files; "" where there is none."""
    value = record.get("file_name")
    return value if isinstance(value, str) else ""


def read_coco(path: Path, root: Path, place: Callable[[Record], str] = file_name) -> CocoFile:
    """What a file annotates on the images below `root`; `place` gives an image's path there from its record.

    An image without width and height is opened for them. An object without a mask, or with a broken one, has its box
    for a mask, and one without area has that of its box; where no object has a mask the file is one of boxes alone.
    Raises BobError that names the file and the first image, annotation or category that is wrong.
    """
    content = _parsed(path)
    categories = _categories(path, content["categories"])
    labels = {category.id: label for label, category in enumerate(categories)}
    records = _images(path, content["images"])
    paths = [_relative(path, record, place) for record in records.values()]
    sizes = [_dimensions(path, root / one, record) for one, record in zip(paths, records.values(), strict=True)]
    annotations: Sequence[Record] = content["annotations"]
    index = {identity: number for number, identity in enumerate(records)}
    _check_annotations(path, annotations, index, labels)
    of_image = np.array([index[one["image_id"]] for one in annotations], np.int64)
    order = np.argsort(of_image, kind="stable")
    columns = _columns(path, [annotations[i] for i in order], labels, [sizes[i] for i in of_image[order]])
    starts = np.searchsorted(of_image[order], np.arange(len(records) + 1)).tolist()
    objects = tuple(
        columns.objects(start, end, size, _federated(path, record, labels))
        for start, end, size, record in zip(starts, starts[1:], sizes, records.values(), strict=False)
    )
    return CocoFile(AnnotatedImages(root, tuple(paths), objects), categories)


@dataclass(frozen=True)
class _Columns:
    """The annotations of a file, those of an image one after the other; masks are () where none has one."""

    boxes: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    masks: tuple[Mask, ...]

    def objects(self, start: int, end: int, size: tuple[int, int], federated: _Federated) -> ImageObjects:
        """Those of one image."""
        one = slice(start, end)
        return ImageObjects(
            *size, self.boxes[one], self.labels[one], self.areas[one], self.crowd[one], self.masks[one], *federated
        )


def _columns(
    path: Path, annotations: Sequence[Record], labels: Mapping[int, int], sizes: Sequence[tuple[int, int]]
) -> _Columns:
    """Arrays of the annotations, which are checked; `sizes` are of their images."""
    boxes = np.array([one["bbox"] for one in annotations], np.float64).reshape(-1, 4)
    areas = [one.get("area") for one in annotations]
    whole = (boxes[:, 2] * boxes[:, 3]).tolist()
    masks = [_mask(path, one, size) for one, size in zip(annotations, sizes, strict=True)]
    if any(mask is not None for mask in masks):
        masks = [_corners(box) if mask is None else mask for mask, box in zip(masks, boxes, strict=True)]
    else:
        masks = []
    return _Columns(
        boxes=boxes,
        labels=np.array([labels[one["category_id"]] for one in annotations], np.int64),
        areas=np.array([w if area is None else area for area, w in zip(areas, whole, strict=True)], np.float64),
        crowd=np.array([bool(one.get("iscrowd")) for one in annotations], bool),
        masks=tuple(masks),
    )


def _parsed(path: Path) -> dict[str, list[Any]]:
    """The three lists."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BobError(f"{path} cannot be read as JSON ({error}); get the file anew") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise BobError(
                f"{path}: no list {key!r}; a file in COCO's format has the lists images, annotations and categories"
            )
    return {key: content[key] for key in ("images", "annotations", "categories")}


def _categories(path: Path, records: Sequence[Any]) -> tuple[Category, ...]:
    """By id."""
    found: dict[int, Category] = {}
    names: dict[str, int] = {}
    for record in records:
        identity, name = (record.get("id"), record.get("name")) if isinstance(record, dict) else (None, None)
        if not isinstance(identity, int) or not isinstance(name, str) or not name.strip():
            raise BobError(f"{path}: category {record!r:.80} has to have a whole number for id, and a name; mend it")
        if identity in found:
            raise BobError(
                f"{path}: category id {identity} is there twice, {found[identity].name} and {name}; mend one"
            )
        if name in names:
            raise BobError(f"{path}: category name {name} is there twice, ids {names[name]} and {identity}; mend one")
        names[name] = identity
        found[identity] = Category(identity, name, str(record.get("frequency", "")))
    if not found:
        raise BobError(f"{path}: no category; add those that its annotations are of")
    return tuple(found[identity] for identity in sorted(found))


def _images(path: Path, records: Sequence[Any]) -> dict[Any, Record]:
    """Id -> record, in the file's order."""
    found: dict[Any, Record] = {}
    for record in records:
        identity = record.get("id") if isinstance(record, dict) else None
        if not isinstance(identity, int | str):
            raise BobError(f"{path}: image {record!r:.80} has no id; add one")
        if identity in found:
            raise BobError(f"{path}: image id {identity} is there twice; give every image an id of its own")
        found[identity] = record
    if not found:
        raise BobError(f"{path}: no image; list those that it annotates")
    return found


def _relative(path: Path, record: Record, place: Callable[[Record], str]) -> str:
    """Where an image lies below the folder of images."""
    name = place(record)
    if not name or PurePosixPath(name).is_absolute():
        raise BobError(
            f"{path}: image {record['id']} has file_name {name!r}; it has to be relative to the image folder"
        )
    return str(PurePosixPath(name))


def _dimensions(path: Path, image: Path, record: Record) -> tuple[int, int]:
    """Width and height in px, of the record, else of the file."""
    width, height = record.get("width"), record.get("height")
    if width is None or height is None:
        try:
            return image_size(image)
        except BobError as error:
            raise BobError(f"{path}: image {record['id']} has no width and height, and {error}") from error
    if not (_finite([width, height]) and width >= 1 and height >= 1):
        raise BobError(f"{path}: image {record['id']} is of {width!r:.20} x {height!r:.20} pixels; mend its size")
    return int(width), int(height)


def _check_annotations(
    path: Path, annotations: Sequence[Any], images: Mapping[Any, int], labels: Mapping[int, int]
) -> None:
    """BobError with the first annotation that is wrong, why, and how many are."""
    wrong = [(i, why) for i, one in enumerate(annotations) if (why := _why_wrong(one, images, labels))]
    if wrong:
        number, why = wrong[0]
        one = annotations[number]
        identity = one["id"] if isinstance(one, dict) and "id" in one else f"number {number + 1}"
        raise BobError(
            f"{path}: annotation {identity!s:.40} {why}; mend it or take it out "
            f"({len(wrong):,} of {len(annotations):,} annotations are wrong)"
        )


def _why_wrong(annotation: Any, images: Mapping[Any, int], labels: Mapping[int, int]) -> str:
    """What is wrong with an annotation; empty where nothing is."""
    if not isinstance(annotation, dict) or not annotation.keys() >= _NEEDED:
        return "has to have image_id, category_id and bbox"
    image, category, box = annotation["image_id"], annotation["category_id"], annotation["bbox"]
    if not isinstance(image, int | str) or image not in images:
        return f"is of image {image!r:.40}, which is not among its {len(images):,} images"
    if not isinstance(category, int) or category not in labels:
        return f"is of category {category!r:.40}, which is not among its {len(labels):,} categories"
    if not (isinstance(box, list) and len(box) == 4 and _finite(box)):
        return f"has bbox {box!r:.80}, not four finite numbers"
    area = annotation.get("area")
    return "" if area is None or _finite([area]) else f"has area {area!r:.40}, not a finite number"


def _mask(path: Path, annotation: Record, size: tuple[int, int]) -> Mask | None:
    """The mask of an annotation without what is broken; None where nothing is left."""
    mask = annotation.get("segmentation")
    if isinstance(mask, list):
        # a polygon has three corners or more
        whole = [one for one in mask if isinstance(one, list) and len(one) >= 6 and len(one) % 2 == 0 and _finite(one)]
        return whole or None
    width, height = size
    if not isinstance(mask, dict) or not mask.get("counts"):
        return None
    if mask.get("size") != [height, width]:
        raise BobError(
            f"{path}: annotation {annotation.get('id')} has a mask of size {mask.get('size')!r:.40}, and its image has "
            f"{[height, width]}, height and width; mend it or take it out"
        )
    counts = mask["counts"]
    if isinstance(counts, list):
        runs = all(isinstance(one, int) and one >= 0 for one in counts)
        return mask if runs and sum(counts) == width * height else None
    # the characters of COCO's compressed run lengths
    return mask if isinstance(counts, str) and min(counts) >= "0" and max(counts) <= "o" else None


def _corners(box: np.ndarray) -> Mask:
    """The polygon of a box.

    >>> _corners(np.array([1.0, 2.0, 3.0, 4.0]))
    [[1.0, 2.0, 4.0, 2.0, 4.0, 6.0, 1.0, 6.0]]
    """
    left, top, width, height = box.tolist()
    return [[left, top, left + width, top, left + width, top + height, left, top + height]]


def _federated(path: Path, record: Record, labels: Mapping[int, int]) -> _Federated:
    """The classes that were looked for in vain, and those not annotated to the end (LVIS)."""
    lists = [record.get(key) or () for key in ("neg_category_ids", "not_exhaustive_category_ids")]
    try:
        negative, incomplete = (tuple(sorted({labels[identity] for identity in one})) for one in lists)
    except (KeyError, TypeError) as error:
        raise BobError(
            f"{path}: image {record['id']} names an unknown category ({error}); get the file anew"
        ) from error
    return negative, incomplete


def _finite(numbers: Sequence[Any]) -> bool:
    """Whether all are finite numbers.

    >>> _finite([1, 2.5]), _finite([1, "2"]), _finite([float("nan")])
    (True, False, False)
    """
    try:
        return math.isfinite(sum(numbers))
    except (TypeError, OverflowError):
        return False

"""Reader of annotations in COCO's format: JSON with lists of images, annotations and categories.

A wrong image, annotation or category stops the reading with one line that names it. Crowds, boxes without area and
boxes that reach outside their image are kept as annotated. Category ids may have gaps: class k is the category with the
k-th smallest id.
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

_REQUIRED_KEYS = frozenset(("image_id", "category_id", "bbox"))


@dataclass(frozen=True)
class Category:
    """A class of a file; `frequency` in LVIS is "r", "c" or "f", and "" where the file does not state it."""

    id: int
    name: str
    frequency: str = ""


@dataclass(frozen=True)
class CocoFile:
    """The content of a file: its images with their objects, and its categories sorted by id."""

    images: AnnotatedImages
    categories: tuple[Category, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the categories."""
        return tuple(category.name for category in self.categories)

    @property
    def frequencies(self) -> tuple[str, ...]:
        """The frequency of each class; () unless the file states it for all classes."""
        frequencies = tuple(category.frequency for category in self.categories)
        return frequencies if all(frequencies) else ()


def file_name(record: Record) -> str:
    """Return the field `file_name` of an image's record, which is its path in most files; "" where it has none."""
    value = record.get("file_name")
    return value if isinstance(value, str) else ""


def read_coco(path: Path, root: Path, image_path: Callable[[Record], str] = file_name) -> CocoFile:
    """Read a file of annotations of the images below `root`.

    `image_path` returns the path of an image relative to `root` from its record. An image without width and height is
    opened to read them. An object without a mask, or with a broken one, gets its box as its mask; an object without
    area gets the area of its box. If no object has a mask, the file has boxes only. Raises BobError that names the file
    and the first image, annotation or category that is wrong.
    """
    content = _parse_lists(path)
    categories = _parse_categories(path, content["categories"])
    labels = {category.id: label for label, category in enumerate(categories)}
    records = _records_by_id(path, content["images"])
    paths = [_relative_path(path, record, image_path) for record in records.values()]
    sizes = [_image_size(path, root / one, record) for one, record in zip(paths, records.values(), strict=True)]
    annotations: Sequence[Record] = content["annotations"]
    index = {identity: number for number, identity in enumerate(records)}
    _check_annotations(path, annotations, index, labels)
    image_of_annotation = np.array([index[one["image_id"]] for one in annotations], np.int64)
    order = np.argsort(image_of_annotation, kind="stable")
    sorted_images = image_of_annotation[order]
    arrays = _annotation_arrays(path, [annotations[i] for i in order], labels, [sizes[i] for i in sorted_images])
    starts = np.searchsorted(sorted_images, np.arange(len(records) + 1)).tolist()
    objects = tuple(
        arrays.objects_of_image(start, end, size, _federated_classes(path, record, labels))
        for start, end, size, record in zip(starts, starts[1:], sizes, records.values(), strict=False)
    )
    return CocoFile(AnnotatedImages(root, tuple(paths), objects), categories)


@dataclass(frozen=True)
class _AnnotationArrays:
    """The annotations of a file, sorted by image; `masks` is () where no annotation has a mask."""

    boxes: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    masks: tuple[Mask, ...]

    def objects_of_image(self, start: int, end: int, size: tuple[int, int], federated: _Federated) -> ImageObjects:
        """Return the annotations from `start` to `end` as the objects of one image."""
        rows = slice(start, end)
        return ImageObjects(
            *size, self.boxes[rows], self.labels[rows], self.areas[rows], self.crowd[rows], self.masks[rows], *federated
        )


def _annotation_arrays(
    path: Path, annotations: Sequence[Record], labels: Mapping[int, int], sizes: Sequence[tuple[int, int]]
) -> _AnnotationArrays:
    """Return arrays of annotations that are checked already; `sizes` are (width, height) of their images."""
    boxes = np.array([one["bbox"] for one in annotations], np.float64).reshape(-1, 4)
    areas = [one.get("area") for one in annotations]
    box_areas = (boxes[:, 2] * boxes[:, 3]).tolist()
    masks = [_valid_mask(path, one, size) for one, size in zip(annotations, sizes, strict=True)]
    if any(mask is not None for mask in masks):
        masks = [_box_polygon(box) if mask is None else mask for mask, box in zip(masks, boxes, strict=True)]
    else:
        masks = []
    return _AnnotationArrays(
        boxes=boxes,
        labels=np.array([labels[one["category_id"]] for one in annotations], np.int64),
        areas=np.array(
            [box_area if area is None else area for area, box_area in zip(areas, box_areas, strict=True)], np.float64
        ),
        crowd=np.array([bool(one.get("iscrowd")) for one in annotations], bool),
        masks=tuple(masks),
    )


def _parse_lists(path: Path) -> dict[str, list[Any]]:
    """Return the three lists of a file: images, annotations and categories."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BobError(f"{path} cannot be read as JSON ({error}); get the file again") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise BobError(
                f"{path}: no list {key!r}; a file in COCO's format has the lists images, annotations and categories"
            )
    return {key: content[key] for key in ("images", "annotations", "categories")}


def _parse_categories(path: Path, records: Sequence[Any]) -> tuple[Category, ...]:
    """Return the categories sorted by id."""
    categories: dict[int, Category] = {}
    id_of_name: dict[str, int] = {}
    for record in records:
        identity, name = (record.get("id"), record.get("name")) if isinstance(record, dict) else (None, None)
        if not isinstance(identity, int) or not isinstance(name, str) or not name.strip():
            raise BobError(f"{path}: category {record!r:.80} needs a whole number as id, and a name; correct it")
        if identity in categories:
            raise BobError(
                f"{path}: category id {identity} is there twice, {categories[identity].name} and {name}; change one"
            )
        if name in id_of_name:
            raise BobError(
                f"{path}: category name {name} is there twice, ids {id_of_name[name]} and {identity}; change one"
            )
        id_of_name[name] = identity
        categories[identity] = Category(identity, name, str(record.get("frequency", "")))
    if not categories:
        raise BobError(f"{path}: no category; add the categories of its annotations")
    return tuple(categories[identity] for identity in sorted(categories))


def _records_by_id(path: Path, records: Sequence[Any]) -> dict[Any, Record]:
    """Return id -> record of the images, in the file's order."""
    records_by_id: dict[Any, Record] = {}
    for record in records:
        identity = record.get("id") if isinstance(record, dict) else None
        if not isinstance(identity, int | str):
            raise BobError(f"{path}: image {record!r:.80} has no id; add one")
        if identity in records_by_id:
            raise BobError(f"{path}: image id {identity} is there twice; give every image an id of its own")
        records_by_id[identity] = record
    if not records_by_id:
        raise BobError(f"{path}: no image; list the images that it annotates")
    return records_by_id


def _relative_path(path: Path, record: Record, image_path: Callable[[Record], str]) -> str:
    """Return the path of an image relative to the image folder."""
    name = image_path(record)
    if not name or PurePosixPath(name).is_absolute():
        raise BobError(
            f"{path}: image {record['id']} has file_name {name!r}; it has to be relative to the image folder"
        )
    return str(PurePosixPath(name))


def _image_size(path: Path, image: Path, record: Record) -> tuple[int, int]:
    """Return width and height of an image in pixels, from its record, else from its file."""
    width, height = record.get("width"), record.get("height")
    if width is None or height is None:
        try:
            return image_size(image)
        except BobError as error:
            raise BobError(f"{path}: image {record['id']} has no width and height, and {error}") from error
    if not (_are_finite([width, height]) and width >= 1 and height >= 1):
        raise BobError(f"{path}: image {record['id']} is of {width!r:.20} x {height!r:.20} pixels; correct its size")
    return int(width), int(height)


def _check_annotations(
    path: Path, annotations: Sequence[Any], images: Mapping[Any, int], labels: Mapping[int, int]
) -> None:
    """Raise BobError with the first wrong annotation, what is wrong with it, and how many annotations are wrong."""
    wrong = [(i, error) for i, one in enumerate(annotations) if (error := _annotation_error(one, images, labels))]
    if wrong:
        number, error = wrong[0]
        first = annotations[number]
        identity = first["id"] if isinstance(first, dict) and "id" in first else f"number {number + 1}"
        raise BobError(
            f"{path}: annotation {identity!s:.40} {error}; correct or remove it "
            f"({len(wrong):,} of {len(annotations):,} annotations are wrong)"
        )


def _annotation_error(annotation: Any, images: Mapping[Any, int], labels: Mapping[int, int]) -> str:
    """Return what is wrong with an annotation; "" where nothing is wrong."""
    if not isinstance(annotation, dict) or not annotation.keys() >= _REQUIRED_KEYS:
        return "has to have image_id, category_id and bbox"
    image, category, box = annotation["image_id"], annotation["category_id"], annotation["bbox"]
    if not isinstance(image, int | str) or image not in images:
        return f"is of image {image!r:.40}, which is not among its {len(images):,} images"
    if not isinstance(category, int) or category not in labels:
        return f"is of category {category!r:.40}, which is not among its {len(labels):,} categories"
    if not (isinstance(box, list) and len(box) == 4 and _are_finite(box)):
        return f"has bbox {box!r:.80}, not four finite numbers"
    area = annotation.get("area")
    return "" if area is None or _are_finite([area]) else f"has area {area!r:.40}, not a finite number"


def _valid_mask(path: Path, annotation: Record, size: tuple[int, int]) -> Mask | None:
    """Return the valid parts of an annotation's mask; None where no part is valid."""
    mask = annotation.get("segmentation")
    if isinstance(mask, list):
        # a polygon needs three corners, which are six numbers
        polygons = [p for p in mask if isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0 and _are_finite(p)]
        return polygons or None
    width, height = size
    if not isinstance(mask, dict) or not mask.get("counts"):
        return None
    if mask.get("size") != [height, width]:
        raise BobError(
            f"{path}: annotation {annotation.get('id')} has a mask of size {mask.get('size')!r:.40}, and its image has "
            f"{[height, width]}, height and width; correct or remove it"
        )
    counts = mask["counts"]
    if isinstance(counts, list):
        are_runs = all(isinstance(one, int) and one >= 0 for one in counts)
        return mask if are_runs and sum(counts) == width * height else None
    # COCO's compressed run lengths use the characters from 0 to o
    return mask if isinstance(counts, str) and min(counts) >= "0" and max(counts) <= "o" else None


def _box_polygon(box: np.ndarray) -> Mask:
    """Return a box as a polygon.

    >>> _box_polygon(np.array([1.0, 2.0, 3.0, 4.0]))
    [[1.0, 2.0, 4.0, 2.0, 4.0, 6.0, 1.0, 6.0]]
    """
    left, top, width, height = box.tolist()
    return [[left, top, left + width, top, left + width, top + height, left, top + height]]


def _federated_classes(path: Path, record: Record, labels: Mapping[int, int]) -> _Federated:
    """Return the classes that are known to be absent from an image, and those not annotated completely (LVIS)."""
    lists = [record.get(key) or () for key in ("neg_category_ids", "not_exhaustive_category_ids")]
    try:
        negative, incomplete = (tuple(sorted({labels[identity] for identity in one})) for one in lists)
    except (KeyError, TypeError) as error:
        raise BobError(
            f"{path}: image {record['id']} names an unknown category ({error}); get the file again"
        ) from error
    return negative, incomplete


def _are_finite(numbers: Sequence[Any]) -> bool:
    """Return whether all values are finite numbers.

    >>> _are_finite([1, 2.5]), _are_finite([1, "2"]), _are_finite([float("nan")])
    (True, False, False)
    """
    try:
        return math.isfinite(sum(numbers))
    except (TypeError, OverflowError):
        return False

"""Reader of annotations in COCO's format: JSON with lists of images, annotations and categories.

A wrong image, annotation or category stops the reading with one line that names it. Crowds, boxes without area and
boxes that reach outside their image are kept as annotated. Category ids may have gaps: class k is the category with the
k-th smallest id.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bob_gauntlet.datasets.annotated_images import AnnotatedImages, image_size
from bob_gauntlet.datasets.coco_fields import are_numbers, flag, is_identity, is_whole
from bob_gauntlet.datasets.coco_masks import read_masks
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
    opened to read them. An object without a mask, or with a damaged one, gets its box as its mask, and a warning counts
    the damaged ones; an object without area, or with a negative one, gets the area of its box. If no object has a mask,
    the file has boxes only. Raises BobError that names the file and the first image, annotation or category that is
    wrong.
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
    areas = np.array([-1 if one.get("area") is None else one["area"] for one in annotations], np.float64)
    return _AnnotationArrays(
        boxes=boxes,
        labels=np.array([labels[one["category_id"]] for one in annotations], np.int64),
        areas=np.where(areas < 0, boxes[:, 2] * boxes[:, 3], areas),
        crowd=np.array([flag(one.get("iscrowd")) for one in annotations], bool),
        masks=read_masks(path, annotations, boxes, sizes),
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
        if identity is None or not is_whole(identity) or not isinstance(name, str) or not name.strip():
            raise BobError(f"{path}: category {record!r:.80} needs a whole number as id, and a name; correct it")
        identity = int(identity)
        if identity in categories:
            raise BobError(
                f"{path}: category id {identity} is there twice, {categories[identity].name} and {name}; change one"
            )
        if name in id_of_name:
            raise BobError(
                f"{path}: category name {name} is there twice, ids {id_of_name[name]} and {identity}; change one"
            )
        id_of_name[name] = identity
        categories[identity] = Category(identity, name, _frequency(record))
    if not categories:
        raise BobError(f"{path}: no category; add the categories of its annotations")
    return tuple(categories[identity] for identity in sorted(categories))


def _frequency(record: Record) -> str:
    """Return how frequent LVIS says that a category is: "r", "c" or "f"; "" where the file does not say so."""
    frequency = record.get("frequency")
    return frequency if frequency in ("r", "c", "f") else ""


def _records_by_id(path: Path, records: Sequence[Any]) -> dict[Any, Record]:
    """Return id -> record of the images, in the file's order."""
    records_by_id: dict[Any, Record] = {}
    for record in records:
        identity = record.get("id") if isinstance(record, dict) else None
        if not is_identity(identity):
            raise BobError(f"{path}: image {record!r:.80} has no id; add a whole number or a text")
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
    if not (is_whole(width) and is_whole(height) and width >= 1 and height >= 1):
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
    if not is_identity(image) or image not in images:
        return f"is of image {image!r:.40}, which is not among its {len(images):,} images"
    if not is_whole(category) or category not in labels:
        return f"is of category {category!r:.40}, which is not among its {len(labels):,} categories"
    if not (isinstance(box, list) and len(box) == 4 and are_numbers(box)):
        return f"has bbox {box!r:.80}, not four finite numbers"
    area, crowd = annotation.get("area"), annotation.get("iscrowd")
    if area is not None and not are_numbers([area]):
        return f"has area {area!r:.40}, not a finite number"
    return "" if flag(crowd) is not None else f"has iscrowd {crowd!r:.40}, not 0 or 1"


def _federated_classes(path: Path, record: Record, labels: Mapping[int, int]) -> _Federated:
    """Return the classes that are known to be absent from an image, and those not annotated completely (LVIS)."""
    lists = [record.get(key) or () for key in ("neg_category_ids", "not_exhaustive_category_ids")]
    try:
        if not all(is_whole(identity) for one in lists for identity in one):
            raise TypeError("its lists have to hold ids of categories")
        negative, incomplete = (tuple(sorted({labels[identity] for identity in one})) for one in lists)
    except (KeyError, TypeError) as error:
        raise BobError(
            f"{path}: image {record['id']} names an unknown category ({error}); get the file again"
        ) from error
    return negative, incomplete

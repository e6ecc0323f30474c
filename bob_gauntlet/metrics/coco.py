"""faster-coco-eval, called for one class at a time, on the images that have objects or detections of that class.

The library fills a table of all images by all classes, which is too large for the memory with LVIS's 20,000 images and
1,203 classes. Images without objects and detections of a class do not change its results.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bob_gauntlet.errors import MissingError

if TYPE_CHECKING:
    from bob_gauntlet.datasets.objects import ImageObjects
    from bob_gauntlet.metrics.detections import Detections

Kind = Literal["box", "mask"]

_CATEGORY = 1
"""Id of the one category that the library sees."""


@dataclass(frozen=True)
class ClassData:
    """The objects and detections of one class.

    `objects` are all annotated objects of each image; `object_indices` maps each image that has objects of the class to
    their indices. In LVIS (`federated`), `negative` are the images that are known not to have the class, `incomplete`
    those where not all of its objects are annotated.
    """

    kind: Kind
    objects: "Sequence[ImageObjects]"
    object_indices: Mapping[int, np.ndarray]
    detections: "Detections"
    federated: bool
    negative: set[int]
    incomplete: set[int]


def split_by_class(
    detections: "Detections", objects: "Sequence[ImageObjects]", classes: int, kind: Kind, *, federated: bool = False
) -> Iterator[ClassData]:
    """Yield the objects and detections of each class.

    With `federated` (LVIS), detections on images that are not annotated for their class are left out.
    """
    object_indices: list[dict[int, np.ndarray]] = [{} for _ in range(classes)]
    negative_images: list[list[int]] = [[] for _ in range(classes)]
    incomplete_images: list[list[int]] = [[] for _ in range(classes)]
    for image, image_objects in enumerate(objects):
        for label in np.unique(image_objects.labels).tolist():
            object_indices[label][image] = np.flatnonzero(image_objects.labels == label)
        for label in image_objects.negative:
            negative_images[label].append(image)
        for label in image_objects.incomplete:
            incomplete_images[label].append(image)
    order = np.argsort(detections.labels, kind="stable")
    edges = np.searchsorted(detections.labels[order], np.arange(classes + 1))
    for label in range(classes):
        indices, negative, incomplete = object_indices[label], negative_images[label], incomplete_images[label]
        rows = order[edges[label] : edges[label + 1]]
        if federated:
            rows = rows[np.isin(detections.images[rows], [*indices, *negative])]
        yield ClassData(kind, objects, indices, detections.take(rows), federated, set(negative), set(incomplete))


def run_evaluator(data: ClassData, max_detections: tuple[int, ...]) -> Any:
    """Return faster-coco-eval's evaluator after it has accumulated the results of one class.

    It sees only the images that have objects or detections of the class.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingError('average precision needs faster-coco-eval: pip install "bob-gauntlet[detection]"') from error
    images = [
        {
            "id": image,
            "height": data.objects[image].height,
            "width": data.objects[image].width,
            "neg_category_ids": [_CATEGORY] if image in data.negative else [],
            "not_exhaustive_category_ids": [_CATEGORY] if image in data.incomplete else [],
        }
        for image in sorted({*data.object_indices, *data.detections.images.tolist()})
    ]
    shared = {"images": images, "categories": [{"id": _CATEGORY, "name": "", "frequency": "f"}]}
    with contextlib.redirect_stdout(io.StringIO()):
        truth, predicted = (
            COCO({**shared, "annotations": annotations})
            for annotations in (_objects_as_coco(data), _detections_as_coco(data))
        )
        kind = {"box": "bbox", "mask": "segm"}[data.kind]
        evaluator = COCOeval_faster(truth, predicted, kind, print_function=lambda *_: None, lvis_style=data.federated)
        evaluator.params.maxDets = list(max_detections)
        # to start a pool of threads for each class takes longer than to compute its overlaps
        evaluator.rle_iou_max_workers = 1
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator


def _objects_as_coco(data: ClassData) -> list[dict[str, Any]]:
    """Return the objects of a class as COCO's annotations."""
    annotations: list[dict[str, Any]] = []
    for image, indices in data.object_indices.items():
        objects = data.objects[image]
        for k, box in zip(indices.tolist(), objects.boxes[indices].tolist(), strict=True):
            entry = {"id": len(annotations) + 1, "image_id": image, "category_id": _CATEGORY, "bbox": box}
            entry |= {"area": float(objects.areas[k]), "iscrowd": int(objects.crowd[k])}
            annotations.append({**entry, "segmentation": objects.masks[k]} if data.kind == "mask" else entry)
    return annotations


def _detections_as_coco(data: ClassData) -> list[dict[str, Any]]:
    """Return the detections of a class as COCO's annotations; the area of a mask is its number of pixels."""
    from faster_coco_eval.core import mask

    detections = data.detections
    images, boxes, scores = detections.images.tolist(), detections.boxes.tolist(), detections.scores.tolist()
    shared = {"category_id": _CATEGORY, "iscrowd": 0}
    if data.kind == "box":
        return [
            {"id": i, "image_id": image, "bbox": box, "score": score, "area": box[2] * box[3], **shared}
            for i, (image, box, score) in enumerate(zip(images, boxes, scores, strict=True), 1)
        ]
    sizes = [[data.objects[image].height, data.objects[image].width] for image in images]
    masks = [{"size": size, "counts": counts} for size, counts in zip(sizes, detections.masks, strict=True)]
    areas = mask.area(masks).tolist() if masks else []
    return [
        {"id": i, "image_id": image, "bbox": box, "score": score, "area": area, "segmentation": rle, **shared}
        for i, (image, box, score, area, rle) in enumerate(zip(images, boxes, scores, areas, masks, strict=True), 1)
    ]

"""faster-coco-eval asked one class at a time, on the images where that class is, or was found.

The library fills a table of all images by all classes, which LVIS's 20,000 x 1,203 do not leave room for; a class's
figures hang on nothing outside its own images.
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
class Class:
    """One class: the objects of each image where it has some, what was found, and LVIS's images of both sorts."""

    kind: Kind
    objects: "Sequence[ImageObjects]"
    places: Mapping[int, np.ndarray]
    found: "Detections"
    federated: bool
    negative: set[int]
    incomplete: set[int]


def by_class(
    detections: "Detections", objects: "Sequence[ImageObjects]", classes: int, kind: Kind, *, federated: bool = False
) -> Iterator[Class]:
    """Each class with what is its own; in LVIS's way without what was found where nobody looked for it."""
    places: list[dict[int, np.ndarray]] = [{} for _ in range(classes)]
    sorts: tuple[list[list[int]], ...] = ([[] for _ in range(classes)], [[] for _ in range(classes)])
    for image, each in enumerate(objects):
        for label in np.unique(each.labels).tolist():
            places[label][image] = np.flatnonzero(each.labels == label)
        for lists, labels in zip(sorts, (each.negative, each.incomplete), strict=True):
            for label in labels:
                lists[label].append(image)
    order = np.argsort(detections.labels, kind="stable")
    edges = np.searchsorted(detections.labels[order], np.arange(classes + 1))
    for label, (own, negative, incomplete) in enumerate(zip(places, *sorts, strict=True)):
        rows = order[edges[label] : edges[label + 1]]
        if federated:
            rows = rows[np.isin(detections.images[rows], [*own, *negative])]
        found = detections.take(rows)
        yield Class(kind, objects, own, found, federated, set(negative), set(incomplete))


def run(one: Class, most: tuple[int, ...]) -> Any:
    """faster-coco-eval's, run on the images where the class is or was found; on the others it has nothing to judge."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingError('average precision needs faster-coco-eval: pip install "bob-gauntlet[detection]"') from error
    images = [
        {
            "id": image,
            "height": one.objects[image].height,
            "width": one.objects[image].width,
            "neg_category_ids": [_CATEGORY] if image in one.negative else [],
            "not_exhaustive_category_ids": [_CATEGORY] if image in one.incomplete else [],
        }
        for image in sorted({*one.places, *one.found.images.tolist()})
    ]
    shared = {"images": images, "categories": [{"id": _CATEGORY, "name": "", "frequency": "f"}]}
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = (COCO({**shared, "annotations": made}) for made in (_annotated(one), _found(one)))
        kind = {"box": "bbox", "mask": "segm"}[one.kind]
        evaluator = COCOeval_faster(truth, found, kind, print_function=lambda *_: None, lvis_style=one.federated)
        evaluator.params.maxDets = list(most)
        # a pool of threads for each class takes longer than its overlaps
        evaluator.rle_iou_max_workers = 1
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator


def _annotated(one: Class) -> list[dict[str, Any]]:
    """The objects of a class as COCO's annotations."""
    made: list[dict[str, Any]] = []
    for image, at in one.places.items():
        all_of = one.objects[image]
        for k, box in zip(at.tolist(), all_of.boxes[at].tolist(), strict=True):
            entry = {"id": len(made) + 1, "image_id": image, "category_id": _CATEGORY, "bbox": box}
            entry |= {"area": float(all_of.areas[k]), "iscrowd": int(all_of.crowd[k])}
            made.append({**entry, "segmentation": all_of.masks[k]} if one.kind == "mask" else entry)
    return made


def _found(one: Class) -> list[dict[str, Any]]:
    """What was found of a class as COCO's annotations; of a mask the area is that of its pixels."""
    from faster_coco_eval.core import mask

    own = one.found
    images, boxes, scores = own.images.tolist(), own.boxes.tolist(), own.scores.tolist()
    shared = {"category_id": _CATEGORY, "iscrowd": 0}
    if one.kind == "box":
        return [
            {"id": i, "image_id": image, "bbox": box, "score": score, "area": box[2] * box[3], **shared}
            for i, (image, box, score) in enumerate(zip(images, boxes, scores, strict=True), 1)
        ]
    sizes = [[one.objects[image].height, one.objects[image].width] for image in images]
    masks = [{"size": size, "counts": counts} for size, counts in zip(sizes, own.masks, strict=True)]
    areas = mask.area(masks).tolist() if masks else []
    return [
        {"id": i, "image_id": image, "bbox": box, "score": score, "area": area, "segmentation": rle, **shared}
        for i, (image, box, score, area, rle) in enumerate(zip(images, boxes, scores, areas, masks, strict=True), 1)
    ]

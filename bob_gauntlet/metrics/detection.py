"""COCO's and LVIS's average precision of boxes and masks, a class at a time, so that memory holds one class.

faster-coco-eval computes the average precision. Beside it, the matches record which detection matched an object on
which image; `metrics.jackknife` computes values per image from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bob_gauntlet.errors import BobError
from bob_gauntlet.metrics.coco import ClassData, Kind, run_evaluator, split_by_class
from bob_gauntlet.metrics.detections import Detections
from bob_gauntlet.metrics.matching import IOU_INDEX, Matches, match_class, top_detections

if TYPE_CHECKING:
    from bob_gauntlet.datasets.objects import ImageObjects

AREAS = ("small", "medium", "large")
"""Objects below 32 x 32 pixels, below 96 x 96, and above."""

MAX_DETECTIONS, MAX_DETECTIONS_FEDERATED = (1, 10, 100), (300,)
"""The largest number of detections that count: in COCO of an image and class, in LVIS of an image."""


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision in %, None where no object is of that kind.

    `ap` is the mean over classes and ten IoU thresholds from 0.5 to 0.95, `ap50` and `ap75` at one of them; `small`,
    `medium`, `large` of objects of that area; `rare`, `common`, `frequent` of the classes of that frequency, in LVIS
    alone. `recall` is the greatest recall, averaged over classes and thresholds: by the largest number of detections
    that count ("1", "10", "100", or "300"), and by area. `matches` are those of each class that has an object, for
    `metrics.jackknife`.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    small: float | None
    medium: float | None
    large: float | None
    recall: Mapping[str, float | None]
    by_class: Mapping[str, float | None]
    matches: tuple[Matches, ...]
    rare: float | None = None
    common: float | None = None
    frequent: float | None = None


def average_precision(
    detections: Detections, objects: "Sequence[ImageObjects]", classes: Sequence[str], kind: Kind = "box"
) -> AveragePrecision:
    """Compute COCO's average precision of boxes or masks (Lin et al., ECCV 2014), by faster-coco-eval.

    `objects` are those of each image, also of images that have none: detections there are false positives. A detection
    that matches a crowd counts neither as right nor as wrong. At most 100 detections of an image and class count; the
    area of a mask is its number of pixels. Raises MissingError where faster-coco-eval is absent, BobError where masks
    are asked for and absent.
    """
    _check_inputs(detections, objects, len(classes), kind)
    by_class = split_by_class(detections, objects, len(classes), kind)
    results = [_evaluate_class(data, MAX_DETECTIONS) for data in by_class]
    return _summarise(results, classes, MAX_DETECTIONS)


def federated_average_precision(
    detections: Detections,
    objects: "Sequence[ImageObjects]",
    classes: Sequence[str],
    frequencies: Sequence[str],
    kind: Kind = "box",
) -> AveragePrecision:
    """Compute LVIS's average precision (Gupta et al., CVPR 2019), by faster-coco-eval in the style of LVIS v1.

    A class is evaluated on the images where it is annotated or known to be absent (`ImageObjects.negative`). Where its
    annotation is incomplete (`ImageObjects.incomplete`), a detection that matches nothing counts neither as right nor
    as wrong. The 300 best detections of an image count. `frequencies` are "r", "c" or "f" of each class. Raises as
    `average_precision` does.
    """
    _check_inputs(detections, objects, len(classes), kind)
    best = top_detections(detections.images, detections.scores, MAX_DETECTIONS_FEDERATED[0])
    by_class = split_by_class(detections.take(np.sort(best)), objects, len(classes), kind, federated=True)
    results = [_evaluate_class(data, MAX_DETECTIONS_FEDERATED) for data in by_class]
    return _summarise(results, classes, MAX_DETECTIONS_FEDERATED, frequencies)


@dataclass(frozen=True)
class _ClassResult:
    """The result of one class, in 0..1, NaN without an object.

    `ap` is (10, 4) by IoU and area, `recall` (10, 4, len(max_detections)).
    """

    ap: np.ndarray
    recall: np.ndarray
    matches: Matches


def _check_inputs(detections: Detections, objects: "Sequence[ImageObjects]", classes: int, kind: Kind) -> None:
    """Raise BobError where detections and objects are not of the same images, classes or kind."""
    ends = detections.images[[0, -1]].tolist() if len(detections) else []
    wrong_images = [index for index in ends if not 0 <= index < len(objects)]
    if wrong_images:
        raise BobError(
            f"a detection has the image index {wrong_images[0]}, but there are {len(objects)} images; "
            "pass detections and objects of the same split"
        )
    wrong_labels = detections.labels[(detections.labels < 0) | (detections.labels >= classes)]
    if len(wrong_labels):
        raise BobError(
            f"a detection has the class index {wrong_labels[0]}, but there are {classes} classes; "
            "pass detections and classes of the same dataset"
        )
    without_masks = (len(detections) and not detections.masks) or any(
        len(image_objects) and not image_objects.masks for image_objects in objects
    )
    if kind == "mask" and without_masks:
        raise BobError("there are boxes without masks; ask for the average precision of boxes")


def _evaluate_class(data: ClassData, max_detections: tuple[int, ...]) -> _ClassResult:
    """Return the library's average precision and recall of a class, and the matches by its overlaps."""
    evaluator = run_evaluator(data, max_detections)
    ap, recall = evaluator.eval["precision"][:, :, 0, :, -1].mean(axis=1), evaluator.eval["recall"][:, 0]
    best = top_detections(data.detections.images, data.detections.scores, max_detections[-1])
    matches = match_class(
        data.detections.images[best],
        data.detections.scores[best],
        {image: iou for (image, _), iou in evaluator.ious.items() if len(iou)},
        {image: data.objects[image].crowd[indices].astype(bool) for image, indices in data.object_indices.items()},
        data.incomplete if data.federated else set(),
    )
    return _ClassResult(np.where(ap < 0, np.nan, ap), np.where(recall < 0, np.nan, recall), matches)


def _summarise(
    results: Sequence[_ClassResult],
    classes: Sequence[str],
    max_detections: tuple[int, ...],
    frequencies: Sequence[str] = (),
) -> AveragePrecision:
    """Average over classes and thresholds; a mean of NaN alone becomes None."""
    ap = np.stack([result.ap for result in results])
    recall = np.stack([result.recall for result in results])
    frequency = np.array(frequencies or [""] * len(classes))
    return AveragePrecision(
        ap=_mean_percent(ap[:, :, 0]),
        ap50=_mean_percent(ap[:, IOU_INDEX[0.5], 0]),
        ap75=_mean_percent(ap[:, IOU_INDEX[0.75], 0]),
        small=_mean_percent(ap[:, :, 1]),
        medium=_mean_percent(ap[:, :, 2]),
        large=_mean_percent(ap[:, :, 3]),
        recall={str(count): _mean_percent(recall[:, :, 0, i]) for i, count in enumerate(max_detections)}
        | {area: _mean_percent(recall[:, :, i, -1]) for i, area in enumerate(AREAS, 1)},
        by_class={name: _mean_percent(class_ap[:, 0]) for name, class_ap in zip(classes, ap, strict=True)},
        matches=tuple(result.matches for result in results if len(result.matches.objects)),
        rare=_mean_percent(ap[frequency == "r", :, 0]),
        common=_mean_percent(ap[frequency == "c", :, 0]),
        frequent=_mean_percent(ap[frequency == "f", :, 0]),
    )


def _mean_percent(values: np.ndarray) -> float | None:
    """Return the mean in % of the values that are not NaN, or None where all are."""
    finite = values[np.isfinite(values)]
    return float(100 * finite.mean()) if len(finite) else None

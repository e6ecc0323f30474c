"""COCO's and LVIS's average precision of boxes and masks, a class at a time, so that memory holds one class.

The figures are faster-coco-eval's. Beside them stands which detection found an object on which image, from which
`metrics.jackknife` makes values an image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bob_gauntlet.errors import BobError
from bob_gauntlet.metrics.coco import Class, Kind, by_class, run
from bob_gauntlet.metrics.detections import Detections
from bob_gauntlet.metrics.matching import AT, Matches, limited, matches

if TYPE_CHECKING:
    from bob_gauntlet.datasets.objects import ImageObjects

AREAS = ("small", "medium", "large")
"""Objects below 32 x 32 pixels, below 96 x 96, and above."""

MOST, MOST_FEDERATED = (1, 10, 100), (300,)
"""Detections that count: of an image and class in COCO, of an image in LVIS."""


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision in %, None where no object is of that kind.

    `ap` is the mean over classes and ten IoU thresholds from 0.5 to 0.95, `ap50` and `ap75` at one of them; `small`,
    `medium`, `large` of objects of that area; `rare`, `common`, `frequent` of the classes of that frequency, in LVIS
    alone. `recall` has the mean greatest recall by at most so many detections ("1", "10", "100", or "300") and by area.
    `matches` are those of each class that has an object, for `metrics.jackknife`.
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
    """COCO's average precision of boxes or masks (Lin et al., ECCV 2014), by faster-coco-eval.

    `objects` are those of each image, also of images that have none: what is found there is false. A detection that
    lies in a crowd counts neither way. At most 100 detections of an image and class count; of a mask the area is its
    pixels. Raises MissingError where faster-coco-eval is absent, BobError where masks are asked for and absent.
    """
    _check(detections, objects, len(classes), kind)
    judged = [_judge(one, MOST) for one in by_class(detections, objects, len(classes), kind)]
    return _summary(judged, classes, MOST)


def federated_average_precision(
    detections: Detections,
    objects: "Sequence[ImageObjects]",
    classes: Sequence[str],
    frequencies: Sequence[str],
    kind: Kind = "box",
) -> AveragePrecision:
    """LVIS's average precision (Gupta et al., CVPR 2019), by faster-coco-eval in the style of LVIS v1.

    A class is judged on the images where it is annotated or known to be absent (`ImageObjects.negative`); where its
    annotation is not complete (`ImageObjects.incomplete`) a detection that matches nothing counts neither way. The 300
    best detections of an image count. `frequencies` are "r", "c" or "f" of each class. Raises as `average_precision`
    does.
    """
    _check(detections, objects, len(classes), kind)
    best = detections.take(np.sort(limited(detections.images, detections.scores, MOST_FEDERATED[0])))
    judged = [_judge(one, MOST_FEDERATED) for one in by_class(best, objects, len(classes), kind, federated=True)]
    return _summary(judged, classes, MOST_FEDERATED, frequencies)


@dataclass(frozen=True)
class _Judged:
    """Of one class: AP (10, 4) by IoU and area, recall (10, 4, most), in 0..1, NaN without an object; its matches."""

    ap: np.ndarray
    recall: np.ndarray
    matches: Matches


def _check(detections: Detections, objects: "Sequence[ImageObjects]", classes: int, kind: Kind) -> None:
    """Raises BobError where detections and objects are not of the same images, classes or kind."""
    if len(detections) and not (detections.images[0] >= 0 and detections.images[-1] < len(objects)):
        raise BobError(f"detections are of image {detections.images[-1]}, and there are {len(objects)} images")
    if len(detections) and not (detections.labels.min() >= 0 and detections.labels.max() < classes):
        raise BobError(f"a detection is of class {detections.labels.max()}, and there are {classes} classes")
    bare = (len(detections) and not detections.masks) or any(len(each) and not each.masks for each in objects)
    if kind == "mask" and bare:
        raise BobError("there are boxes alone, no masks; ask for the average precision of boxes")


def _judge(one: Class, most: tuple[int, ...]) -> _Judged:
    """The library's figures of a class, and the matches by its overlaps."""
    evaluator = run(one, most)
    ap, recall = evaluator.eval["precision"][:, :, 0, :, -1].mean(axis=1), evaluator.eval["recall"][:, 0]
    best = limited(one.found.images, one.found.scores, most[-1])
    own = matches(
        one.found.images[best],
        one.found.scores[best],
        {image: iou for (image, _), iou in evaluator.ious.items() if len(iou)},
        {image: one.objects[image].crowd[at].astype(bool) for image, at in one.places.items()},
        one.incomplete if one.federated else set(),
    )
    return _Judged(np.where(ap < 0, np.nan, ap), np.where(recall < 0, np.nan, recall), own)


def _summary(
    judged: Sequence[_Judged], classes: Sequence[str], most: tuple[int, ...], frequencies: Sequence[str] = ()
) -> AveragePrecision:
    """The means over classes and thresholds; what is NaN throughout is None."""
    ap = np.stack([one.ap for one in judged])
    recall = np.stack([one.recall for one in judged])
    of = np.array(frequencies or [""] * len(classes))
    return AveragePrecision(
        ap=_percent(ap[:, :, 0]),
        ap50=_percent(ap[:, AT[0.5], 0]),
        ap75=_percent(ap[:, AT[0.75], 0]),
        small=_percent(ap[:, :, 1]),
        medium=_percent(ap[:, :, 2]),
        large=_percent(ap[:, :, 3]),
        recall={str(count): _percent(recall[:, :, 0, i]) for i, count in enumerate(most)}
        | {area: _percent(recall[:, :, i, -1]) for i, area in enumerate(AREAS, 1)},
        by_class={name: _percent(one[:, 0]) for name, one in zip(classes, ap, strict=True)},
        matches=tuple(one.matches for one in judged if len(one.matches.objects)),
        rare=_percent(ap[of == "r", :, 0]),
        common=_percent(ap[of == "c", :, 0]),
        frequent=_percent(ap[of == "f", :, 0]),
    )


def _percent(values: np.ndarray) -> float | None:
    """The mean of those that are not NaN in %, None where all are."""
    held = values[np.isfinite(values)]
    return float(100 * held.mean()) if len(held) else None

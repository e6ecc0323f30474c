"""Matching of detections with objects by COCO's rules: greedy, from the highest score down, by image and class."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bob_gauntlet.metrics.finite import require_finite

IOUS = np.linspace(0.5, 0.95, 10)
"""The intersections over union (IoU) that a match needs at least: average precision is the mean over all ten."""

IOU_INDEX = {0.5: 0, 0.75: 5}
"""Places in IOUS of the thresholds that have a metric of their own, ap50 and ap75."""


@dataclass(frozen=True)
class Matches:
    """The m detections of one class, from the highest score down, and the images of its n objects.

    `images` (m,) are the images of the detections. `hits` (10, m) bool says which detections match an object at each of
    IOUS, `ignored` (10, m) bool which ones count neither as right nor as wrong: they match a crowd, or match nothing on
    an image whose annotation is incomplete. `objects` (n,) are the images of the objects, without crowds.
    """

    images: np.ndarray
    hits: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray


def top_detections(images: np.ndarray, scores: np.ndarray, most: int) -> np.ndarray:
    """Return the indices of the `most` detections of each image with the highest scores.

    They are ordered by image, then from the highest score down; of equal scores the first detection comes first. Raises
    NotFiniteError where a score is NaN or infinite, since it has no place in the order.

    >>> top_detections(np.array([0, 0, 0, 1]), np.array([0.1, 0.9, 0.5, 0.3]), most=2).tolist()
    [1, 2, 3]
    """
    require_finite(scores, "scores", "detections")
    order = np.lexsort((-scores, images))
    ordered = images[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return np.asarray(order[rank < most])


def match_image(iou: np.ndarray, crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match the detections of one image with its objects; return hits and ignored, (10, D) bool each.

    `iou` are the (D, G) overlaps of the detections, from the highest score down, with the objects; `crowd` (G,) bool
    says which objects are crowds. Each detection is matched with the free object that it overlaps most; of equal
    overlaps with the last one. A crowd is matched only if no other object fits. It stays free, and a detection that
    matches it is ignored. Raises NotFiniteError where an overlap is NaN or infinite: if it matched nothing, its object
    would be left for other detections.

    >>> hits, ignored = match_image(np.array([[0.9, 0.0], [0.8, 0.6]]), np.array([False, True]))
    >>> hits[0].tolist(), ignored[0].tolist()
    ([True, False], [False, True])
    """
    require_finite(iou, "overlaps", "detections")
    hits = np.zeros((len(IOUS), len(iou)), bool)
    ignored = np.zeros_like(hits)
    free = np.ones((len(IOUS), iou.shape[1]), bool)
    every = np.arange(len(IOUS))
    for d in np.flatnonzero((iou >= IOUS[0]).any(axis=1)):
        fits = free & (iou[d] >= IOUS[:, None])
        if crowd.any():
            single = fits & ~crowd
            fits = np.where(single.any(axis=1, keepdims=True), single, fits)
        best = iou.shape[1] - 1 - np.argmax(np.where(fits, iou[d], -1)[:, ::-1], axis=1)
        matched = fits[every, best]
        ignored[:, d] = matched & crowd[best]
        hits[:, d] = matched & ~crowd[best]
        free[every, best] &= ~hits[:, d]
    return hits, ignored


def match_class(
    images: np.ndarray,
    scores: np.ndarray,
    overlaps: Mapping[int, np.ndarray],
    crowds: Mapping[int, Sequence[bool]],
    incomplete: Collection[int],
) -> Matches:
    """Match the detections of one class with its objects on all images.

    `images` and `scores` (m,) are those of the detections, ordered as by `top_detections`. `overlaps` has for each
    image the (D, G) overlaps of its best detections, in the same order, with its objects; `crowds` says which of its
    objects are crowds. `incomplete` are the images on which a detection that matches nothing is ignored. Raises
    NotFiniteError where a score or an overlap is NaN or infinite.
    """
    require_finite(scores, "scores", "detections")
    hits = np.zeros((len(IOUS), len(images)), bool)
    ignored = np.zeros_like(hits)
    for image, iou in overlaps.items():
        first = np.searchsorted(images, image)
        rows = slice(first, first + len(iou))
        hits[:, rows], ignored[:, rows] = match_image(iou, np.asarray(crowds[image], bool))
    ignored |= ~hits & np.isin(images, list(incomplete))
    order = np.argsort(-scores, kind="stable")
    objects = [image for image, image_crowds in crowds.items() for is_crowd in image_crowds if not is_crowd]
    return Matches(images[order], hits[:, order], ignored[:, order], np.array(objects, np.int64))

"""Which detection found an object, by COCO's rules: greedy by falling score, within an image and class."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

IOUS = np.linspace(0.5, 0.95, 10)
"""From which intersection over union on an object counts as found: average precision is the mean over all ten."""

AT = {0.5: 0, 0.75: 5}
"""Where those stand that have a measure of their own."""


@dataclass(frozen=True)
class Matches:
    """The m detections of one class by falling score, and where its n objects are.

    `images` (m,) are their images; `hits` (10, m) bool says which found an object at each of IOUS, `ignored` (10, m)
    which count neither way: found in a crowd, or where annotation is not complete. `objects` (n,) are the images of the
    objects without crowds.
    """

    images: np.ndarray
    hits: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray


def limited(images: np.ndarray, scores: np.ndarray, most: int) -> np.ndarray:
    """Indices of the `most` best detections of each image, by image and falling score; of equals the first.

    >>> limited(np.array([0, 0, 0, 1]), np.array([0.1, 0.9, 0.5, 0.3]), most=2).tolist()
    [1, 2, 3]
    """
    order = np.lexsort((-scores, images))
    ordered = images[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return np.asarray(order[rank < most])


def match(iou: np.ndarray, crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(D, G) overlaps of one image's detections, by falling score, with its objects: hits and ignored, (10, D) bool.

    Each detection takes the object that it overlaps most of those still free; of equals the last. Crowds (G,) come
    after all others, stay free, and what they take is ignored.

    >>> hits, ignored = match(np.array([[0.9, 0.0], [0.8, 0.6]]), np.array([False, True]))
    >>> hits[0].tolist(), ignored[0].tolist()
    ([True, False], [False, True])
    """
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
        taken = fits[every, best]
        ignored[:, d] = taken & crowd[best]
        hits[:, d] = taken & ~crowd[best]
        free[every, best] &= ~hits[:, d]
    return hits, ignored


def matches(
    images: np.ndarray,
    scores: np.ndarray,
    overlaps: Mapping[int, np.ndarray],
    crowds: Mapping[int, Sequence[bool]],
    incomplete: Collection[int],
) -> Matches:
    """The matches of one class, from the overlaps of each image's best detections with its objects.

    `images` and `scores` (m,) are ordered as `limited` orders them, as the rows of the overlaps are. `incomplete` are
    the images on which a detection that matches nothing is ignored.
    """
    hits = np.zeros((len(IOUS), len(images)), bool)
    ignored = np.zeros_like(hits)
    for image, iou in overlaps.items():
        first = np.searchsorted(images, image)
        rows = slice(first, first + len(iou))
        hits[:, rows], ignored[:, rows] = match(iou, np.asarray(crowds[image], bool))
    ignored |= ~hits & np.isin(images, list(incomplete))
    order = np.argsort(-scores, kind="stable")
    objects = [image for image, crowd in crowds.items() for single in crowd if not single]
    return Matches(images[order], hits[:, order], ignored[:, order], np.array(objects, np.int64))

"""Jackknife pseudo-values: one value per image, whose mean is an average precision.

With them an average precision gets confidence intervals and paired tests like every mean over images.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from bob_gauntlet.errors import BobError
from bob_gauntlet.metrics.matching import IOU_INDEX, IOUS, Matches

MAX_GROUPS = 200
"""The largest number of groups of images that are left out, one at a time."""

RECALLS = np.linspace(0, 1, 101)
"""The recalls at which COCO reads the precision."""


def jackknife(
    matches: Sequence[Matches], clusters: Sequence[str], metric: Literal["ap", "ap50", "ap75"] = "ap"
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return (N,) pseudo-values in %, one per image, whose mean is the average precision, and the cluster of each.

    `matches` are those of an `AveragePrecision`. `clusters` name for each image what it shares with others (a photo, a
    patient), or its id where it shares nothing.

    Let AP be the average precision over all N images and AP(g) that without the n_g images of cluster g. Every image of
    g gets the value N/n_g AP - (N/n_g - 1) AP(g): the delete-m jackknife for groups of unequal size (Busing, Meijer and
    van der Leeden, Statistics and Computing 1999). A constant is added to all values, so that their mean is AP and not
    the bias-corrected estimate. More than 200 clusters are combined into 200 groups, which are then left out one at a
    time and returned as the clusters (Kott, The delete-a-group jackknife, Journal of Official Statistics 2001).

    The standard error of AP is the clustered standard error of the mean of these values. For G clusters of one size it
    is Tukey's sqrt((G - 1)/G * sum of (AP(g) - their mean)^2). AP(g) leaves out a class whose objects are all in g.
    Raises BobError where there is no object.
    """
    if not matches:
        raise BobError("no image has an object, so that average precision is not defined; check the annotations")
    names, cluster_indices = np.unique(np.asarray(clusters), return_inverse=True)
    groups, count = cluster_indices % MAX_GROUPS, min(len(names), MAX_GROUPS)
    thresholds = range(len(IOUS)) if metric == "ap" else [IOU_INDEX[{"ap50": 0.5, "ap75": 0.75}[metric]]]
    ap = 100 * mean_over_classes([leave_group_out_ap(each, groups, count, thresholds) for each in matches])
    # N/n_g for each image
    factors = (len(groups) / np.bincount(groups, minlength=count))[groups]
    left_out = np.where(np.isnan(ap[:-1]), ap[-1], ap[:-1])
    values = factors * ap[-1] - (factors - 1) * left_out[groups]
    return values - values.mean() + ap[-1], tuple(
        names[cluster_indices].tolist() if len(names) <= MAX_GROUPS else [f"group {g}" for g in groups]
    )


def mean_over_classes(ap_by_class: Sequence[np.ndarray]) -> np.ndarray:
    """Average `leave_group_out_ap` of C classes, (G + 1,), over the classes that have an object left.

    NaN where no class has an object left.
    """
    rows = np.stack(ap_by_class)
    finite = np.isfinite(rows)
    total, count = np.where(finite, rows, 0).sum(axis=0), finite.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def leave_group_out_ap(matches: Matches, groups: np.ndarray, count: int, thresholds: Sequence[int]) -> np.ndarray:
    """Return the AP of one class without each group of images, and as the last value with all: (count + 1,) in 0..1.

    `groups` (N,) are the groups of the images, from 0 to count - 1; `thresholds` are places in IOUS. NaN where no
    object is left.

    >>> one = Matches(np.array([0, 1]), np.ones((10, 2), bool), np.zeros((10, 2), bool), np.array([0, 1, 2]))
    >>> leave_group_out_ap(one, np.arange(3), 3, [0]).round(3).tolist()
    [0.505, 0.505, 1.0, 0.663]
    """
    # only groups with detections or objects of the class change its AP: they are numbered from 0, and all others give
    # the AP with all images, which is computed as that without one more group, an empty one
    present = np.concatenate([groups[matches.images], groups[matches.objects]])
    affecting, indices = np.unique(present, return_inverse=True)
    by_detection, by_object = indices[: len(matches.images)], indices[len(matches.images) :]
    objects_left = len(by_object) - np.bincount(by_object, minlength=len(affecting) + 1)
    needed = hits_needed(objects_left)
    ap = np.zeros(len(objects_left))
    for t in thresholds:
        counted = ~matches.ignored[t]
        ap += _interpolated_ap(matches.hits[t][counted], by_detection[counted], needed)
    ap[objects_left == 0] = np.nan
    result = np.full(count + 1, ap[-1] / len(thresholds))
    result[affecting] = ap[:-1] / len(thresholds)
    return result


def hits_needed(objects: np.ndarray) -> np.ndarray:
    """Return how many hits reach each of RECALLS, (G, 101), for (G,) numbers of objects; rounded as in COCO's code.

    >>> hits_needed(np.array([100]))[0, [0, 1, 34, 35]].tolist()
    [0, 1, 34, 36]
    """
    n = np.maximum(objects, 1)[:, None]
    below = np.floor(RECALLS * n)
    return np.asarray(below + (below / n < RECALLS), np.int64)


def _interpolated_ap(hit: np.ndarray, group: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Return the AP without each of the groups, (G,): the interpolated precision, averaged over the recalls.

    The interpolated precision at a recall is the highest precision from there on. `hit` and `group` (m,) are those of
    the detections that count, from the highest score down; `needed` (G, 101) says how many hits reach each recall.
    Precision rises only at hits, so that it is computed at the K hits alone: (G, K). At a hit that is left out it is at
    most that at the hit before, so that the maximum does not change.
    """
    at = np.flatnonzero(hit)
    hits, rows = len(at), len(needed)
    if hits == 0:
        return np.zeros(rows)
    every = np.arange(rows)[:, None]
    next_hit = np.searchsorted(at, np.arange(len(hit)))
    removed = np.bincount(group * (hits + 1) + next_hit, minlength=rows * (hits + 1)).reshape(rows, hits + 1)
    ranks = at + 1 - np.cumsum(removed[:, :hits], axis=1)
    kept = np.cumsum(group[at] != every, axis=1)
    precision = kept / np.maximum(ranks, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # each row is shifted above the previous one, so that a single search finds the hit of every row and recall
    steps = (kept + every * (hits + 1)).ravel()
    place = np.searchsorted(steps, (np.minimum(needed, hits + 1) + every * (hits + 1)).ravel()).reshape(rows, -1)
    place -= every * hits
    return np.asarray(np.where(place < hits, best[every, np.minimum(place, hits - 1)], 0.0).mean(axis=1))

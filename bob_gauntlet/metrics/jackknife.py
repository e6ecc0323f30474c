"""Values an image whose mean is an average precision, so that it gets intervals and paired tests as every mean does."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from bob_gauntlet.errors import BobError
from bob_gauntlet.metrics.matching import AT, IOUS, Matches

GROUPS = 200
"""The most groups of images that are left out, one at a time."""

RECALLS = np.linspace(0, 1, 101)
"""Where COCO reads the precision."""


def jackknife(
    matches: Sequence[Matches], clusters: Sequence[str], metric: Literal["ap", "ap50", "ap75"] = "ap"
) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N,) pseudo-values in %, one an image, whose mean is the average precision, and the cluster of each.

    `matches` are those of an `AveragePrecision`; `clusters` name what images share, their ids where they share nothing.
    With AP over all N images and AP(g) without the n_g of cluster g, every image of g has N/n_g AP - (N/n_g - 1) AP(g),
    the delete-m jackknife of unequal groups (Busing, Meijer and van der Leeden, Statistics and Computing 1999), moved
    by one constant so that the mean is AP and not the bias-corrected figure. Above 200 clusters 200 groups of them are
    left out (Kott, The delete-a-group jackknife, Journal of Official Statistics 2001), which are the clusters returned.

    The standard error of AP is then that of the mean of these values with its clusters. Of G clusters of one size it is
    sqrt((G - 1)/G * sum of (AP(g) - their mean)^2), Tukey's. A class whose objects are all in g is not in AP(g).
    Raises BobError where there is no object.
    """
    if not matches:
        raise BobError("no image has an object, so that there is no average precision; check the annotations")
    names, of = np.unique(np.asarray(clusters), return_inverse=True)
    groups, count = of % GROUPS, min(len(names), GROUPS)
    thresholds = range(len(IOUS)) if metric == "ap" else [AT[{"ap50": 0.5, "ap75": 0.75}[metric]]]
    ap = 100 * mean_without([without(each, groups, count, thresholds) for each in matches])
    times = (len(groups) / np.bincount(groups, minlength=count))[groups]
    left_out = np.where(np.isnan(ap[:-1]), ap[-1], ap[:-1])
    values = times * ap[-1] - (times - 1) * left_out[groups]
    return values - values.mean() + ap[-1], tuple(
        names[of].tolist() if len(names) <= GROUPS else [f"group {g}" for g in groups]
    )


def mean_without(by_class: Sequence[np.ndarray]) -> np.ndarray:
    """Rows (C, G + 1) of `without` to their mean over the classes that have an object left; NaN where none has."""
    rows = np.stack(by_class)
    held = np.isfinite(rows)
    total, count = np.where(held, rows, 0).sum(axis=0), held.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def without(found: Matches, groups: np.ndarray, count: int, thresholds: Sequence[int]) -> np.ndarray:
    """AP of one class without each group of images, and at last with all: (count + 1,) in 0..1.

    `groups` (N,) are the groups of the images, from 0 to count - 1; `thresholds` are places in IOUS. NaN where no
    object is left.

    >>> one = Matches(np.array([0, 1]), np.ones((10, 2), bool), np.zeros((10, 2), bool), np.array([0, 1, 2]))
    >>> without(one, np.arange(3), 3, [0]).round(3).tolist()
    [0.505, 0.505, 1.0, 0.663]
    """
    present = np.concatenate([groups[found.images], groups[found.objects]])
    touched, of = np.unique(present, return_inverse=True)
    by_detection, by_object = of[: len(found.images)], of[len(found.images) :]
    left = len(by_object) - np.bincount(by_object, minlength=len(touched) + 1)
    reached = hits_needed(left)
    rows = np.zeros(len(left))
    for t in thresholds:
        counted = ~found.ignored[t]
        rows += _interpolated(found.hits[t][counted], by_detection[counted], reached)
    rows[left == 0] = np.nan
    result = np.full(count + 1, rows[-1] / len(thresholds))
    result[touched] = rows[:-1] / len(thresholds)
    return result


def hits_needed(objects: np.ndarray) -> np.ndarray:
    """(G,) numbers of objects to how many of them are each of RECALLS, (G, 101); rounded as COCO's quotients are.

    >>> hits_needed(np.array([100]))[0, [0, 1, 34, 35]].tolist()
    [0, 1, 34, 36]
    """
    n = np.maximum(objects, 1)[:, None]
    below = np.floor(RECALLS * n)
    return np.asarray(below + (below / n < RECALLS), np.int64)


def _interpolated(hit: np.ndarray, group: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """AP without each of the groups, (G,): precision at the recalls, each time the best from there on, averaged.

    `hit` and `group` (m,) are those of the detections that count, by falling score; `reached` (G, 101) how many hits
    make each recall. Precision rises at hits alone, so that it is followed from hit to hit: (G, K) for K of them, where
    a hit that is left out only lowers it.
    """
    at = np.flatnonzero(hit)
    hits, rows = len(at), len(reached)
    if hits == 0:
        return np.zeros(rows)
    every = np.arange(rows)[:, None]
    next_hit = np.searchsorted(at, np.arange(len(hit)))
    gone = np.bincount(group * (hits + 1) + next_hit, minlength=rows * (hits + 1)).reshape(rows, hits + 1)
    ranks = at + 1 - np.cumsum(gone[:, :hits], axis=1)
    kept = np.cumsum(group[at] != every, axis=1)
    precision = kept / np.maximum(ranks, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # rows one after another, each above the one before: a single search finds the hit of every row and recall
    steps = (kept + every * (hits + 1)).ravel()
    place = np.searchsorted(steps, (np.minimum(reached, hits + 1) + every * (hits + 1)).ravel()).reshape(rows, -1)
    place -= every * hits
    return np.asarray(np.where(place < hits, best[every, np.minimum(place, hits - 1)], 0.0).mean(axis=1))

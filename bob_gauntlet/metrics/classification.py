"""Classification metrics: per-example values whose mean is the score."""

import numpy as np

from bob_gauntlet.metrics.finite import finite_rows


def in_top_k(scores: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    """Return (N,) bool: whether the true class (N,) is among the k highest of the (N, C) scores.

    Ties count against the example: a class of equal score ranks before the true one. So constant scores are never
    right, and the order of the classes does not matter. An example with NaN or infinity among its scores is wrong.

    >>> in_top_k(np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]]), np.array([2, 0]), k=1).tolist()
    [False, False]
    >>> in_top_k(np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]]), np.array([2, 0]), k=2).tolist()
    [True, True]
    """
    true_scores = np.take_along_axis(scores, targets[:, None], axis=1)
    return np.asarray(((scores >= true_scores).sum(axis=1) <= k) & finite_rows(scores))


def label_aucs(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of each label, (C,), from (N, C) scores and (N, C) {0, 1} targets.

    It is the probability that a positive scores above a negative, where ties count half (Mann-Whitney). It is NaN for
    a label without a positive or without a negative. A score that is NaN or infinite is in the wrong order with all
    others: that of a positive is below every negative, that of a negative above every positive.

    >>> label_aucs(np.array([[0.1], [0.4], [0.35], [0.8]]), np.array([[0], [0], [1], [1]])).tolist()
    [0.75]
    """
    from scipy.stats import rankdata

    if not finite_rows(scores).all():
        scores = np.where(np.isfinite(scores), scores, np.where(targets, -np.inf, np.inf))
    ranks = rankdata(scores, axis=0)
    positives = targets.sum(axis=0)
    negatives = len(targets) - positives
    with np.errstate(invalid="ignore", divide="ignore"):
        above = (ranks * targets).sum(axis=0) - positives * (positives + 1) / 2
        return np.asarray(above / (positives * negatives), np.float64)


def mean_auc(scores: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean in % of `label_aucs` over the labels that have positives and negatives; NaN where none has.

    >>> mean_auc(np.array([[0.1, 0.3], [0.4, 0.2]]), np.array([[0, 1], [1, 1]]))
    100.0
    """
    aucs = label_aucs(scores, targets)
    return float("nan") if np.isnan(aucs).all() else 100 * float(np.nanmean(aucs))

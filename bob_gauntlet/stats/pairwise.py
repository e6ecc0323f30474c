"""Comparison of two backbones on the measures that both have: wins, paired tests, and Holm's correction."""

from collections.abc import Sequence
from itertools import product

import numpy as np

MAX_EXACT_CLUSTERS = 12
"""Up to this many clusters every flip of signs is tried: 4,096 flips. With more clusters, 4,096 flips are drawn."""


def wins(a: np.ndarray, b: np.ndarray) -> float:
    """Return the share of the common measures on which `a` (M,) is above `b` (M,); a tie counts half.

    NaN where they have no common measure.

    >>> wins(np.array([2.0, 1.0, np.nan]), np.array([1.0, 1.0, 5.0]))
    0.75
    """
    differences = (a - b)[np.isfinite(a - b)]
    return float(np.mean((differences > 0) + (differences == 0) / 2)) if len(differences) else float("nan")


def sign_flip_p(differences: np.ndarray, clusters: Sequence[str], rng: np.random.Generator) -> float:
    """Return the two-sided p-value of the hypothesis that the mean of paired differences (M,) is zero.

    Fisher's randomisation test: under the null hypothesis the sign of all differences of one cluster (a dataset) can be
    flipped. All flips are tried up to 12 clusters; above, 4,096 flips are drawn. NaN without a difference.

    scipy.stats.permutation_test gives the same exact p-values (a test compares them). It is not used, since it would
    draw other flips from the same seed, and importing scipy.stats takes half a second.

    >>> sign_flip_p(np.ones(5), list("abcde"), np.random.default_rng(0))
    0.0625
    """
    present = np.isfinite(differences)
    if not present.any():
        return float("nan")
    cluster_indices = np.unique(np.asarray(clusters, dtype=str)[present], return_inverse=True)[1]
    cluster_sums = np.bincount(cluster_indices, weights=np.asarray(differences, np.float64)[present])
    count = len(cluster_sums)
    if count <= MAX_EXACT_CLUSTERS:
        signs = np.array(list(product((1, -1), repeat=count)))
    else:
        signs = np.vstack([np.ones(count), rng.choice((1, -1), size=(2**MAX_EXACT_CLUSTERS - 1, count))])
    flipped_sums = np.abs(signs @ cluster_sums)
    return float(np.mean(flipped_sums >= abs(cluster_sums.sum()) * (1 - 1e-12)))


def bootstrap_p(differences: np.ndarray) -> float:
    """Return the two-sided p-value of bootstrap draws (draws,) of a paired difference.

    NaN where all draws are equal, or where one is NaN.
    """
    if np.isnan(differences).any() or np.ptp(differences) == 0:
        return float("nan")
    smaller_tail = min(int(np.sum(differences <= 0)), int(np.sum(differences >= 0))) + 1
    return float(min(1.0, 2 * smaller_tail / (len(differences) + 1)))


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values (K,) after Holm's (1979) step-down correction; NaN stays NaN and does not count as a test.

    SciPy has no such function: scipy.stats.false_discovery_control controls another error rate.

    >>> holm(np.array([0.01, 0.04, 0.03, np.nan])).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    corrected = np.full(len(p), np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return corrected

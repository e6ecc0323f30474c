"""One backbone against another on the measures that both have: wins, a paired test, and Holm's correction."""

from collections.abc import Sequence
from itertools import product

import numpy as np

EXACT = 12
"""Clusters up to which every flip of signs is tried: 4,096 of them."""


def wins(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the common measures on which `a` (M,) is above `b` (M,), ties half; NaN where they share none.

    >>> wins(np.array([2.0, 1.0, np.nan]), np.array([1.0, 1.0, 5.0]))
    0.75
    """
    gap = (a - b)[np.isfinite(a - b)]
    return float(np.mean((gap > 0) + (gap == 0) / 2)) if len(gap) else float("nan")


def sign_flip_p(gaps: np.ndarray, clusters: Sequence[str], rng: np.random.Generator) -> float:
    """Two-sided p-value that the mean of paired differences (M,) is zero, clusters of measures being exchangeable.

    Under the null hypothesis the differences of a dataset are as likely to be turned round as not (Fisher's
    randomisation test); all flips are tried up to 12 clusters, 4,096 drawn ones above. NaN without a difference.

    >>> sign_flip_p(np.ones(5), list("abcde"), np.random.default_rng(0))
    0.0625
    """
    found = np.isfinite(gaps)
    if not found.any():
        return float("nan")
    groups = np.unique(np.asarray(clusters, dtype=str)[found], return_inverse=True)[1]
    sums = np.bincount(groups, weights=np.asarray(gaps, np.float64)[found])
    if len(sums) <= EXACT:
        signs = np.array(list(product((1, -1), repeat=len(sums))))
    else:
        signs = np.vstack([np.ones(len(sums)), rng.choice((1, -1), size=(2**EXACT - 1, len(sums)))])
    drawn = np.abs(signs @ sums)
    return float(np.mean(drawn >= abs(sums.sum()) * (1 - 1e-12)))


def draws_p(gaps: np.ndarray) -> float:
    """Two-sided bootstrap p-value of paired draws (draws,) of a difference; NaN where they have no spread."""
    if np.isnan(gaps).any() or np.ptp(gaps) == 0:
        return float("nan")
    least = min(int(np.sum(gaps <= 0)), int(np.sum(gaps >= 0))) + 1
    return float(min(1.0, 2 * least / (len(gaps) + 1)))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's (1979) step-down correction of p-values (K,); NaN stays NaN and does not count.

    >>> holm(np.array([0.01, 0.04, 0.03, np.nan])).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    found = np.full(len(p), np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    found[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return found

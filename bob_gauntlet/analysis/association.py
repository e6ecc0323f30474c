"""Rank and product-moment correlation with n and p, of those that have both values."""

from dataclasses import dataclass

import numpy as np

FEWEST = 3
"""Backbones with both values that a correlation needs."""


@dataclass(frozen=True)
class Association:
    """A correlation, its two-sided p-value, and how many backbones it is over; NaN where there are too few."""

    r: float
    p: float
    n: int


def spearman(x: np.ndarray, y: np.ndarray) -> Association:
    """Spearman's rank correlation of (B,) and (B,), NaN skipped in pairs; ties share their mean rank.

    >>> spearman(np.array([1.0, 2.0, 3.0, np.nan]), np.array([1.0, 8.0, 27.0, 0.0])).n
    3
    """
    from scipy.stats import rankdata

    both = np.isfinite(x) & np.isfinite(y)
    return pearson(rankdata(x[both]), rankdata(y[both]))


def pearson(x: np.ndarray, y: np.ndarray) -> Association:
    """Pearson's product-moment correlation of (B,) and (B,), NaN skipped in pairs; p by Student's t."""
    from scipy.stats import pearsonr

    both = np.isfinite(x) & np.isfinite(y)
    a, b = x[both], y[both]
    if len(a) < FEWEST or _constant(a) or _constant(b):
        return Association(float("nan"), float("nan"), len(a))
    found = pearsonr(a, b)
    return Association(float(found.statistic), float(found.pvalue), len(a))


def _constant(values: np.ndarray) -> bool:
    """Whether all that these values differ by is rounding."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())

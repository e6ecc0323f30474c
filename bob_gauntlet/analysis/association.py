"""Spearman's and Pearson's correlation with n and p, over the backbones that have both values."""

from dataclasses import dataclass

import numpy as np

MIN_PAIRS = 3
"""Number of backbones with both values that a correlation needs."""


@dataclass(frozen=True)
class Association:
    """A correlation, its two-sided p-value, and the number of backbones; r and p are NaN for too few backbones."""

    r: float
    p: float
    n: int


def spearman(x: np.ndarray, y: np.ndarray) -> Association:
    """Return Spearman's rank correlation of (B,) and (B,).

    Pairs with a NaN are skipped. Ties share their mean rank. Unlike `scipy.stats.spearmanr`, constant values give NaN
    without a warning.

    >>> spearman(np.array([1.0, 2.0, 3.0, np.nan]), np.array([1.0, 8.0, 27.0, 0.0])).n
    3
    """
    from scipy.stats import rankdata

    both = np.isfinite(x) & np.isfinite(y)
    return pearson(rankdata(x[both]), rankdata(y[both]))


def pearson(x: np.ndarray, y: np.ndarray) -> Association:
    """Return Pearson's product-moment correlation of (B,) and (B,), with p from Student's t.

    Pairs with a NaN are skipped.
    """
    from scipy.stats import pearsonr

    both = np.isfinite(x) & np.isfinite(y)
    a, b = x[both], y[both]
    if len(a) < MIN_PAIRS or _is_constant(a) or _is_constant(b):
        return Association(float("nan"), float("nan"), len(a))
    result = pearsonr(a, b)
    return Association(float(result.statistic), float(result.pvalue), len(a))


def _is_constant(values: np.ndarray) -> bool:
    """Check that the values differ by rounding errors at most."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())

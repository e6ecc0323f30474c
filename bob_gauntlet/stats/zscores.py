"""z-scores, their averages, and ranks: numbers in, numbers out.

A z-score says how many standard deviations of the pool's members a backbone lies above their mean (paper, section
3.6). The pool is frozen: adding a backbone does not change existing z-scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_MEMBERS = 3
"""Members with a value that a measure needs for a z-score."""


@dataclass(frozen=True)
class Reference:
    """Mean and population standard deviation of one measure over a pool's members."""

    mean: float
    std: float
    n: int

    @property
    def reason(self) -> str:
        """Why this measure gives no z-score; "" where it gives one."""
        if self.n < MIN_MEMBERS:
            return f"{self.n} members have a value, {MIN_MEMBERS} are needed"
        return "" if self.std > 0 else f"all {self.n} members have the same value"

    def z(self, values: np.ndarray, sign: int) -> np.ndarray:
        """Return the z-scores of `values`, in their shape; all NaN where the measure gives no z-score.

        `sign` is -1 for a metric of which lower values are better, else 1.
        """
        if self.reason:
            return np.full(np.shape(values), np.nan)
        return sign * (np.asarray(values, np.float64) - self.mean) / self.std


def reference(values: Sequence[float]) -> Reference:
    """Return the mean and std (ddof = 0) of the members' values. A std as small as rounding errors counts as 0.

    >>> reference([1.0, 2.0, 3.0])
    Reference(mean=2.0, std=0.816496580927726, n=3)
    """
    if not len(values):
        return Reference(0.0, 0.0, 0)
    array = np.asarray(values, np.float64)
    mean, std = float(array.mean()), float(array.std())
    return Reference(mean, std if std > 1e-12 * max(1.0, abs(mean)) else 0.0, len(values))


def mean_z(z: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the mean over the measures; missing ones (NaN) are skipped, never counted as zero.

    The mean is NaN where all are missing. np.nanmean gives the same numbers, but warns there.
    """
    present = np.isfinite(z)
    count = present.sum(axis=axis)
    total = np.where(present, z, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def median_z(z: np.ndarray) -> np.ndarray:
    """Return the median over the last axis; missing ones are skipped. It is NaN where all are missing."""
    array = np.asarray(z, np.float64)
    # np.nanmedian would warn about rows without a value
    has_value = np.isfinite(array).any(axis=-1)
    medians = np.full(array.shape[:-1], np.nan)
    medians[has_value] = np.nanmedian(array[has_value], axis=-1)
    return medians


def iqm(z: np.ndarray) -> np.ndarray:
    """Return the interquartile mean over the last axis: the mean without the lowest and highest quarter.

    As in Agarwal et al. (2021). A quarter is rounded down, as scipy.stats.trim_mean(z, 0.25) does; trim_mean does not
    skip missing values, so it is not used here.

    >>> float(iqm(np.array([-9.0, 1.0, 2.0, 100.0])))
    1.5
    """
    ordered = np.sort(np.asarray(z, np.float64), axis=-1)  # NaN last
    count = np.isfinite(ordered).sum(axis=-1)
    cut = count // 4
    position = np.arange(ordered.shape[-1])
    kept = (position >= cut[..., None]) & (position < (count - cut)[..., None])
    total = np.where(kept, ordered, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count - 2 * cut, 1), np.nan)


def ranks(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return ranks from 1, the highest value first; equal values share the best rank, and NaN stays NaN.

    scipy.stats.rankdata gives the same ranks (a test compares them), but importing scipy.stats takes half a second.

    >>> ranks(np.array([0.5, 2.0, 2.0, np.nan])).tolist()
    [3.0, 1.0, 1.0, nan]
    """
    negated = -np.moveaxis(np.asarray(values, np.float64), axis, -1)
    order = np.argsort(negated, axis=-1, kind="stable")  # NaN last
    ordered = np.take_along_axis(negated, order, -1)
    # only the first of several equal values advances the rank
    is_new_value = np.ones(ordered.shape, bool)
    is_new_value[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    sorted_ranks = np.maximum.accumulate(np.where(is_new_value, np.arange(1, ordered.shape[-1] + 1), 0), axis=-1)
    result = np.empty(ordered.shape)
    np.put_along_axis(result, order, np.where(np.isnan(ordered), np.nan, sorted_ranks), -1)
    return np.moveaxis(result, -1, axis)


def win_rate(z: np.ndarray) -> np.ndarray:
    """Return the share of comparisons that each backbone wins: (B, M) to (B,); a tie counts half.

    A backbone is compared with every other one on every measure that both have. NaN without any comparison.

    >>> win_rate(np.array([[2.0, 1.0], [1.0, 1.0], [0.0, np.nan]])).tolist()
    [0.8333333333333334, 0.5, 0.0]
    """
    opponents = np.maximum(np.isfinite(z).sum(axis=0) - 1, 0)
    best, worst = ranks(z, axis=0), ranks(-z, axis=0)
    # all backbones below, and half of those with the same value
    beaten = (worst - 1 + (opponents + 1 - best)) / 2
    present = np.isfinite(z)
    comparisons = np.where(present, opponents, 0).sum(axis=1)
    won = np.where(present, beaten, 0.0).sum(axis=1)
    return np.where(comparisons > 0, won / np.maximum(comparisons, 1), np.nan)

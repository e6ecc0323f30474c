"""z-scores, their averages, and ranks: numbers in, numbers out.

A z-score says how many standard deviations of the pool's members a backbone lies above their mean (paper, 3.6). The
pool is frozen, so a new backbone moves nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 3
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
        if self.n < FEWEST:
            return f"{self.n} members have a value, {FEWEST} are needed"
        return "" if self.std > 0 else f"all {self.n} members have the same value"

    def z(self, values: np.ndarray, sign: int) -> np.ndarray:
        """z of values of any shape, with `sign` -1 where lower is better; NaN where there is a reason for none."""
        if self.reason:
            return np.full(np.shape(values), np.nan)
        return sign * (np.asarray(values, np.float64) - self.mean) / self.std


def reference(values: Sequence[float]) -> Reference:
    """Mean and std (ddof = 0) of the members' values; a spread below rounding is none.

    >>> reference([1.0, 2.0, 3.0])
    Reference(mean=2.0, std=0.816496580927726, n=3)
    """
    if not len(values):
        return Reference(0.0, 0.0, 0)
    array = np.asarray(values, np.float64)
    mean, std = float(array.mean()), float(array.std())
    return Reference(mean, std if std > 1e-12 * max(1.0, abs(mean)) else 0.0, len(values))


def mean_z(z: np.ndarray, axis: int = -1) -> np.ndarray:
    """Flat mean over the measures, missing ones (NaN) skipped, never counted as zero; NaN where all are missing."""
    present = np.isfinite(z)
    count = present.sum(axis=axis)
    total = np.where(present, z, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def median_z(z: np.ndarray) -> np.ndarray:
    """Median over the last axis, missing ones skipped; NaN where all are missing."""
    ordered, count = _ordered(z)
    low, high = (_pick(ordered, (count + shift) // 2) for shift in (-1, 0))
    return np.where(count > 0, (low + high) / 2, np.nan)


def iqm(z: np.ndarray) -> np.ndarray:
    """Interquartile mean over the last axis: the mean without the lowest and the highest quarter (Agarwal et al. 2021).

    A quarter is rounded down, as scipy.stats.trim_mean(z, 0.25) does; missing ones are skipped.

    >>> float(iqm(np.array([-9.0, 1.0, 2.0, 100.0])))
    1.5
    """
    ordered, count = _ordered(z)
    cut = count // 4
    place = np.arange(ordered.shape[-1])
    kept = (place >= cut[..., None]) & (place < (count - cut)[..., None])
    total = np.where(kept, ordered, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count - 2 * cut, 1), np.nan)


def ranks(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Rank from 1, highest value first, equal values sharing the best place; NaN for NaN.

    >>> ranks(np.array([0.5, 2.0, 2.0, np.nan])).tolist()
    [3.0, 1.0, 1.0, nan]
    """
    moved = -np.moveaxis(np.asarray(values, np.float64), axis, -1)
    order = np.argsort(moved, axis=-1, kind="stable")  # NaN last
    ordered = np.take_along_axis(moved, order, -1)
    begins = np.ones(ordered.shape, bool)
    begins[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    place = np.maximum.accumulate(np.where(begins, np.arange(1, ordered.shape[-1] + 1), 0), axis=-1)
    found = np.empty(ordered.shape)
    np.put_along_axis(found, order, np.where(np.isnan(ordered), np.nan, place), -1)
    return np.moveaxis(found, -1, axis)


def win_rate(z: np.ndarray) -> np.ndarray:
    """(B, M) to (B,): of all meetings with another backbone on a measure that both have, the share won; ties half.

    >>> win_rate(np.array([[2.0, 1.0], [1.0, 1.0], [0.0, np.nan]])).tolist()
    [0.8333333333333334, 0.5, 0.0]
    """
    met = np.maximum(np.isfinite(z).sum(axis=0) - 1, 0)
    best, worst = ranks(z, axis=0), ranks(-z, axis=0)
    # others below, and half of those that share the place
    beaten = (worst - 1 + (met + 1 - best)) / 2
    present = np.isfinite(z)
    meetings = np.where(present, met, 0).sum(axis=1)
    won = np.where(present, beaten, 0.0).sum(axis=1)
    return np.where(meetings > 0, won / np.maximum(meetings, 1), np.nan)


def _ordered(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted along the last axis with what is missing at the end, and how many are there."""
    array = np.asarray(z, np.float64)
    return np.sort(array, axis=-1), np.isfinite(array).sum(axis=-1)


def _pick(ordered: np.ndarray, index: np.ndarray) -> np.ndarray:
    if not ordered.shape[-1]:
        return np.full(ordered.shape[:-1], np.nan)
    inside = np.clip(index, 0, ordered.shape[-1] - 1)[..., None]
    return np.take_along_axis(ordered, inside, -1)[..., 0]

"""z-scores, ranks and their intervals: numbers in, numbers out.

A z-score says how many standard deviations of the pool's members a backbone lies above their mean (paper, 3.6). The
pool is frozen, so a new backbone moves nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 3
"""Members with a value that a measure needs for a z-score."""

DRAWS = 1000
"""Bootstrap draws of an interval."""


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


def ranks(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Rank from 1, highest value first, equal values sharing the best place; NaN for NaN.

    >>> ranks(np.array([0.5, 2.0, 2.0, np.nan])).tolist()
    [3.0, 1.0, 1.0, nan]
    """
    moved = np.moveaxis(np.asarray(values, np.float64), axis, -1)
    above = moved[..., None, :] > moved[..., :, None]
    found = np.where(np.isnan(moved), np.nan, 1.0 + above.sum(axis=-1))
    return np.moveaxis(found, -1, axis)


def cluster_draws(
    values: np.ndarray, clusters: Sequence[str], rng: np.random.Generator, draws: int = DRAWS
) -> np.ndarray:
    """Bootstrap means of per-example values: (B, N) to (draws, B), the same examples drawn for all B backbones.

    Whole clusters (a photo with all its crops) are drawn with replacement, as Cameron, Gelbach and Miller (2008) do:
    examples that share a photo are no independent evidence. A backbone with a NaN has NaN draws.
    """
    groups = np.unique(np.asarray(clusters), return_inverse=True)[1]
    count = int(groups.max()) + 1
    sizes = np.bincount(groups, minlength=count).astype(np.float64)
    sums = np.stack([np.bincount(groups, weights=row, minlength=count) for row in np.asarray(values, np.float64)])
    weights = rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
    return np.asarray((weights @ sums.T) / (weights @ sizes)[:, None])


def normal_draws(values: np.ndarray, stderr: np.ndarray, rng: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """(B,) values with standard errors to (draws, B); a missing standard error (NaN) leaves the value as it is."""
    noise = rng.standard_normal((draws, len(values)))
    return np.asarray(values + np.nan_to_num(stderr) * noise, np.float64)


def interval(draws: np.ndarray, share: float = 0.95) -> np.ndarray:
    """(draws, B) to (B, 2): the percentile interval that holds `share` of them; NaN where a backbone has none."""
    found = np.full((draws.shape[1], 2), np.nan)
    held = np.isfinite(draws).all(axis=0)
    tail = 100 * (1 - share) / 2
    found[held] = np.percentile(draws[:, held], [tail, 100 - tail], axis=0).T
    return found


def tie_groups(values: np.ndarray, draws: np.ndarray, level: float = 0.05) -> np.ndarray:
    """(B,) values and their (draws, B) to group numbers from 1: who cannot be told from the leader of a group is in it.

    One-sided and paired: a backbone stays in the group as long as it beats or equals the leader in more than `level`
    of the draws. 0 where there is no value.
    """
    groups = np.zeros(len(values), np.int64)
    leader, number = -1, 0
    for index in np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable"):
        if np.isnan(values[index]):
            continue
        if leader < 0 or np.mean(draws[:, index] >= draws[:, leader]) <= level:
            leader, number = index, number + 1
        groups[index] = number
    return groups


def settings_interval(
    z: np.ndarray, sources: Sequence[str], rng: np.random.Generator, draws: int = DRAWS
) -> np.ndarray | None:
    """How far mean z (B, M) hangs on the choice of settings: (B, 2), resampling clusters of measures by dataset source.

    None with fewer than four sources: too few datasets for an interval.
    """
    names = sorted(set(sources))
    if len(names) < 4:
        return None
    members = [np.flatnonzero(np.asarray(sources) == name) for name in names]
    drawn = [
        mean_z(z[:, np.concatenate([members[i] for i in rng.integers(0, len(names), len(names))])])
        for _ in range(draws)
    ]
    return interval(np.stack(drawn))

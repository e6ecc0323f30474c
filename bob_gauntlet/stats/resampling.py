"""Uncertainty of a mean z: bootstrap draws, intervals and tie groups. Numbers in, numbers out.

There are two uncertainties, and they are never mixed. *Test examples*: would other images of the same datasets give
the same ranking? *Choice of settings*: would other datasets? For the second, whole clusters of measures that share a
dataset are resampled.

The draws are written out here instead of calling scipy.stats.bootstrap, since all backbones must share the same draws,
whole clusters must be drawn, and the same seed must give the intervals that it gave before.
"""

from collections.abc import Callable, Sequence

import numpy as np

from bob_gauntlet.stats.zscores import mean_z

DRAWS = 1000
"""Bootstrap draws of an interval."""

MIN_CLUSTERS = 4
"""Datasets that an interval over the choice of settings needs."""


def cluster_draws(
    values: np.ndarray, clusters: Sequence[str], rng: np.random.Generator, draws: int = DRAWS
) -> np.ndarray:
    """Return bootstrap means of per-example values: (B, N) to (draws, B), the same examples drawn for all B backbones.

    Whole clusters (a photo with all its crops) are drawn with replacement, as in Cameron, Gelbach and Miller (2008):
    examples that share a photo are not independent. A backbone with a NaN has NaN draws.
    """
    cluster_indices = np.unique(np.asarray(clusters), return_inverse=True)[1]
    count = int(cluster_indices.max()) + 1
    sizes = np.bincount(cluster_indices, minlength=count).astype(np.float64)
    sums = np.stack(
        [np.bincount(cluster_indices, weights=row, minlength=count) for row in np.asarray(values, np.float64)]
    )
    weights = rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
    return np.asarray((weights @ sums.T) / (weights @ sizes)[:, None])


def normal_draws(values: np.ndarray, stderr: np.ndarray, rng: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """Return normal draws of values (B,) with standard errors (B,): (draws, B).

    A value without a standard error (NaN) is the same in every draw.
    """
    spread = np.nan_to_num(stderr)
    if not spread.any():  # published figures have none
        return np.broadcast_to(np.asarray(values, np.float64), (draws, len(values)))
    return np.asarray(values + spread * rng.standard_normal((draws, len(values))), np.float64)


def interval(draws: np.ndarray, share: float = 0.95) -> np.ndarray:
    """Return percentile intervals that hold `share` of the draws: (draws, B) to (B, 2).

    NaN for a backbone with a draw that is not finite.
    """
    intervals = np.full((draws.shape[1], 2), np.nan)
    finite = np.isfinite(draws).all(axis=0)
    tail = 100 * (1 - share) / 2
    intervals[finite] = np.percentile(draws[:, finite], [tail, 100 - tail], axis=0).T
    return intervals


class ClusterWeights:
    """How often each cluster of measures is drawn: (draws, M) weights, the same for every backbone and every pair."""

    def __init__(self, sources: Sequence[str], rng: np.random.Generator, draws: int = DRAWS) -> None:
        """Draw clusters with replacement. `sources` names the cluster of each of the M measures."""
        self.names, self.cluster_indices = np.unique(np.asarray(sources, dtype=str), return_inverse=True)
        count = max(len(self.names), 1)
        counts = rng.multinomial(count, np.full(count, 1 / count), size=draws)
        self.weights = counts[:, self.cluster_indices].astype(np.float64)

    def count_clusters(self, present: np.ndarray) -> np.ndarray:
        """Return the number of clusters that a mask of measures touches: (..., M) to (...)."""
        is_member = self.cluster_indices[:, None] == np.arange(len(self.names))
        return np.asarray((np.asarray(present, np.float64) @ is_member > 0).sum(axis=-1))

    def mean(self, z: np.ndarray) -> np.ndarray:
        """Return the mean over the drawn measures in every draw: (B, M) to (draws, B).

        Measures that a backbone lacks are skipped; NaN where it has none of the drawn ones.
        """
        present = np.isfinite(z)
        total = self.weights @ np.where(present, z, 0.0).T
        count = self.weights @ present.T.astype(np.float64)
        return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)


def settings_interval(z: np.ndarray, weights: ClusterWeights, share: float = 0.95) -> np.ndarray:
    """Return the interval of each backbone's mean z when datasets are resampled: z (B, M) to (B, 2).

    NaN for a backbone with fewer than four clusters. The interval is Student's t with the bootstrap's standard error: a
    percentile interval of few clusters is far too short, this one covers `share` from four clusters on
    (tests/stats/test_resampling.py measures it).
    """
    intervals = np.full((len(z), 2), np.nan)
    clusters = weights.count_clusters(np.isfinite(z))
    enough = clusters >= MIN_CLUSTERS
    if enough.any():
        center = mean_z(z[enough])
        error = standard_error(weights.mean(z[enough]), clusters[enough])
        half_width = student_t_quantile((1 + share) / 2, clusters[enough]) * error
        intervals[enough] = np.stack([center - half_width, center + half_width], axis=1)
    return intervals


def standard_error(draws: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Return the standard error of means from their draws (draws, B) and the numbers of clusters (B,): (B,).

    The spread of bootstrap draws is too small by sqrt(1 - 1/n) for n clusters; this is corrected.
    """
    return np.asarray(np.nanstd(draws, axis=0) * np.sqrt(clusters / np.maximum(clusters - 1, 1)))


def student_t_quantile(share: float, clusters: np.ndarray) -> np.ndarray:
    """Return the quantile of Student's t; the degrees of freedom are the numbers of clusters minus one.

    >>> student_t_quantile(0.975, np.array([4, 21])).round(2).tolist()
    [3.18, 2.09]
    """
    from scipy.special import stdtrit

    return np.asarray(stdtrit(np.maximum(clusters - 1, 1), share))


def tie_groups(values: np.ndarray, differs: Callable[[int, int], bool]) -> np.ndarray:
    """Return the tie group of each value: (B,) to numbers from 1, and 0 where there is no value (NaN).

    The best value leads group 1. From there on down, `differs(leader, other)` says whether a value differs
    significantly from the leader: if not, it joins the group; if so, it leads the next group.
    """
    groups = np.zeros(len(values), np.int64)
    leader, number = -1, 0
    for index in np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable"):
        if np.isnan(values[index]):
            continue
        if leader < 0 or differs(leader, int(index)):
            leader, number = int(index), number + 1
        groups[index] = number
    return groups


def differs_over_examples(draws: np.ndarray, leader: int, other: int, level: float = 0.05) -> bool | None:
    """Return whether the leader is better than `other` over draws (draws, B) of test examples.

    A one-sided paired test: `other` reaches the leader in at most `level` of the draws. None where the draws of the
    difference are all equal, or not a number.
    """
    difference = draws[:, leader] - draws[:, other]
    if np.isnan(difference).any() or np.ptp(difference) == 0:
        return None
    return bool(np.mean(difference <= 0) <= level)


def differs_over_settings(
    z: np.ndarray, weights: ClusterWeights, leader: int, other: int, level: float = 0.05
) -> bool | None:
    """Return whether the leader is better than `other` over draws of datasets, on the measures that both have.

    A one-sided paired test of z (B, M) at `level`. None where the two share fewer than four clusters.
    """
    difference = z[leader] - z[other]
    clusters = weights.count_clusters(np.isfinite(difference[None]))
    if clusters[0] < MIN_CLUSTERS:
        return None
    error = standard_error(weights.mean(difference[None]), clusters)
    return bool(np.nanmean(difference) > (student_t_quantile(1 - level, clusters) * error)[0])

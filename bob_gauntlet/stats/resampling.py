"""How sure a mean z is: bootstrap draws, intervals and tie groups. Numbers in, numbers out.

Two uncertainties, never mixed. *Test examples*: would other images of the same datasets rank the backbones alike?
*Choice of settings*: would other datasets? The second resamples whole clusters of measures that share a dataset.
"""

from collections.abc import Callable, Sequence

import numpy as np

from bob_gauntlet.stats.zscores import mean_z

DRAWS = 1000
"""Bootstrap draws of an interval."""

FEWEST_CLUSTERS = 4
"""Datasets that the choice of settings needs for an interval."""


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
    spread = np.nan_to_num(stderr)
    if not spread.any():  # published figures have none
        return np.broadcast_to(np.asarray(values, np.float64), (draws, len(values)))
    return np.asarray(values + spread * rng.standard_normal((draws, len(values))), np.float64)


def interval(draws: np.ndarray, share: float = 0.95) -> np.ndarray:
    """(draws, B) to (B, 2): the percentile interval that holds `share` of them; NaN where a backbone has none."""
    found = np.full((draws.shape[1], 2), np.nan)
    held = np.isfinite(draws).all(axis=0)
    tail = 100 * (1 - share) / 2
    found[held] = np.percentile(draws[:, held], [tail, 100 - tail], axis=0).T
    return found


class ClusterWeights:
    """How often each cluster of measures is drawn: (draws, M) weights, the same for every backbone and every pair."""

    def __init__(self, sources: Sequence[str], rng: np.random.Generator, draws: int = DRAWS) -> None:
        self.names, self.of = np.unique(np.asarray(sources, dtype=str), return_inverse=True)
        count = max(len(self.names), 1)
        self.weights = rng.multinomial(count, np.full(count, 1 / count), size=draws)[:, self.of].astype(np.float64)

    def clusters(self, present: np.ndarray) -> np.ndarray:
        """(..., M) mask to the number of clusters in it."""
        member = self.of[:, None] == np.arange(len(self.names))
        return np.asarray((np.asarray(present, np.float64) @ member > 0).sum(axis=-1))

    def mean(self, z: np.ndarray) -> np.ndarray:
        """(B, M) to (draws, B): mean over the drawn measures that a backbone has; NaN where it has none of them."""
        present = np.isfinite(z)
        total = self.weights @ np.where(present, z, 0.0).T
        count = self.weights @ present.T.astype(np.float64)
        return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)


def settings_interval(z: np.ndarray, weights: ClusterWeights, share: float = 0.95) -> np.ndarray:
    """How far mean z (B, M) hangs on the choice of settings: (B, 2); NaN for those with fewer than four clusters.

    Student's t with the bootstrap's standard error: a percentile interval of few clusters is far too short, this one
    holds what it says from four clusters on (tests/test_resampling.py measures it).
    """
    found = np.full((len(z), 2), np.nan)
    clusters = weights.clusters(np.isfinite(z))
    enough = clusters >= FEWEST_CLUSTERS
    if enough.any():
        middle = mean_z(z[enough])
        error = standard_error(weights.mean(z[enough]), clusters[enough])
        half = quantile((1 + share) / 2, clusters[enough]) * error
        found[enough] = np.stack([middle - half, middle + half], axis=1)
    return found


def standard_error(draws: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """(draws, B) over draws of (B,) clusters to (B,): their spread, which a bootstrap understates by sqrt(1 - 1/n)."""
    return np.asarray(np.nanstd(draws, axis=0) * np.sqrt(clusters / np.maximum(clusters - 1, 1)))


def quantile(share: float, clusters: np.ndarray) -> np.ndarray:
    """Of Student's t with a degree of freedom less than there are clusters.

    >>> quantile(0.975, np.array([4, 21])).round(2).tolist()
    [3.18, 2.09]
    """
    from scipy.special import stdtrit

    return np.asarray(stdtrit(np.maximum(clusters - 1, 1), share))


def tie_groups(values: np.ndarray, told_apart: Callable[[int, int], bool]) -> np.ndarray:
    """(B,) values to group numbers from 1: who cannot be told from the leader of a group is in it; 0 without a value.

    `told_apart(leader, other)` is asked from the best value down; whoever is told apart leads the next group.
    """
    groups = np.zeros(len(values), np.int64)
    leader, number = -1, 0
    for index in np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable"):
        if np.isnan(values[index]):
            continue
        if leader < 0 or told_apart(leader, int(index)):
            leader, number = int(index), number + 1
        groups[index] = number
    return groups


def apart_by_examples(draws: np.ndarray, leader: int, other: int, level: float = 0.05) -> bool | None:
    """One-sided and paired: whether `other` reaches the leader in at most `level` of the draws; None without spread."""
    gap = draws[:, leader] - draws[:, other]
    if np.isnan(gap).any() or np.ptp(gap) == 0:
        return None
    return bool(np.mean(gap <= 0) <= level)


def apart_by_settings(
    z: np.ndarray, weights: ClusterWeights, leader: int, other: int, level: float = 0.05
) -> bool | None:
    """The same over draws of datasets, on the measures that both have; None where they share too few datasets."""
    gap = z[leader] - z[other]
    clusters = weights.clusters(np.isfinite(gap[None]))
    if clusters[0] < FEWEST_CLUSTERS:
        return None
    error = standard_error(weights.mean(gap[None]), clusters)
    return bool(np.nanmean(gap) > (quantile(1 - level, clusters) * error)[0])

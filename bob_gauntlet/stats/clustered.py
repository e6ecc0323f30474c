"""Uncertainty of means whose values come in clusters: variances, Student's t, intervals. Numbers in, numbers out.

There are two uncertainties, and they are never mixed. *Test examples*: would other images of the same datasets give
the same ranking? *Choice of datasets*: would other datasets? Clusters are photos in the first case, and sources of
images in the second. Everything that is made from one cluster is drawn together: all measures and all backbones.

Nothing is resampled: a mean is linear in its clusters, so that the variance over draws of clusters is a sum over them
(Liang and Zeger 1986). Bootstrap intervals of few clusters are too short (Cameron, Gelbach and Miller 2008); Student's
t with the degrees of freedom of the clusters keeps its level (tests/stats/test_worlds.py measures it).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bob_gauntlet.stats.zscores import mean_z

LEVEL = 0.05
"""Level of all tests; intervals hold the share 1 - LEVEL."""

MIN_CLUSTERS = 4
"""Sources of images that an interval over the choice of datasets needs."""

SMALLEST_DIFFERENCE = 1e-9
"""Differences of z-scores below this one are rounding errors."""


@dataclass(frozen=True)
class Estimate:
    """Estimated values with their variances and the degrees of freedom of Student's t: three arrays of one shape.

    The variance is NaN where nothing is known of the error.
    """

    value: np.ndarray
    variance: np.ndarray
    degrees: np.ndarray

    @property
    def p(self) -> np.ndarray:
        """Two-sided p-values of the hypothesis that the true value is zero; NaN where it cannot be tested.

        A difference without any variance is certain, and no difference without any variance cannot be tested.

        >>> one = np.ones(3)
        >>> Estimate(np.array([2.78, 1.0, 0.0]), np.array([1.0, 0.0, 0.0]), 4 * one).p.round(3).tolist()
        [0.05, 0.0, nan]
        """
        from scipy.special import stdtr

        size = np.where(np.abs(self.value) > SMALLEST_DIFFERENCE, np.abs(self.value), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = size / np.sqrt(self.variance)
        return np.asarray(2 * stdtr(np.maximum(self.degrees, 1), -t))

    def interval(self, share: float = 1 - LEVEL) -> np.ndarray:
        """Return the intervals (..., 2) that hold the true value with probability `share`; NaN without a variance."""
        half_width = student_t_quantile((1 + share) / 2, self.degrees) * np.sqrt(self.variance)
        return np.stack([self.value - half_width, self.value + half_width], axis=-1)


def student_t_quantile(share: float, degrees: np.ndarray | float) -> np.ndarray:
    """Return the quantile of Student's t.

    >>> student_t_quantile(0.975, np.array([3, 20, np.inf])).round(2).tolist()
    [3.18, 2.09, 1.96]
    """
    from scipy.special import stdtrit

    # stdtrit has no infinite degrees of freedom; 1e9 give the normal quantile
    return np.asarray(stdtrit(np.clip(degrees, 1, 1e9), share))


@dataclass(frozen=True)
class Contributions:
    """The contribution of each of the C clusters of one source to the errors of the means of B backbones."""

    # (C, B) sums over the examples of a cluster of (value - mean) / number of examples
    values: np.ndarray
    # (C, B) whether the backbone has examples of the cluster
    present: np.ndarray

    def of_differences(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (B, B) variances of the differences of two means, and their degrees of freedom.

        For G clusters that a pair touches, these are G / (G - 1) * sum of squares (Liang and Zeger 1986), and G - 1.
        """
        # what all backbones share cancels in a difference; without it the sums of squares keep their precision
        values = self.values - self.values.mean(axis=1, keepdims=True)
        products = values.T @ values
        squares = np.diag(products)
        absent = 1.0 - self.present
        clusters = len(values) - absent.T @ absent
        degrees = np.maximum(clusters - 1, 1)
        variances = np.maximum(squares[:, None] + squares - 2 * products, 0) * clusters / degrees
        # rounding errors of equal backbones
        variances[variances < 1e-14 * (squares[:, None] + squares)] = 0
        return variances, degrees


@dataclass(frozen=True)
class IndependentErrors:
    """Errors of the means of B backbones that no two of them share: variances (B,) and degrees of freedom (B,)."""

    variance: np.ndarray
    degrees: np.ndarray


def estimate_differences(
    means: np.ndarray, shared: Sequence[Contributions], independent: Sequence[IndependentErrors]
) -> Estimate:
    """Estimate the differences (B, B) of means (B,): [i, j] is mean i minus mean j.

    `shared` and `independent` hold the errors, each a source of images that is independent of all others. Degrees of
    freedom of several sources are combined as by Satterthwaite (1946). NaN where neither backbone has a known error.
    """
    size = len(means)
    variance, squares, known = np.zeros((size, size)), np.zeros((size, size)), np.zeros(size, bool)
    for each in shared:
        part, degrees = each.of_differences()
        variance += part
        squares += part**2 / degrees
        known |= each.present.any(axis=0)
    own_variance, own_squares = np.zeros(size), np.zeros(size)
    for errors in independent:
        own_variance += errors.variance
        own_squares += errors.variance**2 / errors.degrees
    variance += own_variance[:, None] + own_variance
    squares += own_squares[:, None] + own_squares
    known |= own_variance > 0
    variance[~(known[:, None] | known)] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = np.where(squares > 0, variance**2 / squares, np.inf)
    return Estimate(means[:, None] - means, variance, degrees)


def estimate_means_over_datasets(z: np.ndarray, sources: Sequence[str]) -> Estimate:
    """Estimate the means (B,) of z (B, M) over draws of datasets; missing values (NaN) are skipped.

    `sources` names the source of images of each measure, and measures of one source are drawn together. For G sources
    with shares w of the measures, the sum of squares is divided by what it is expected to be where the variance of the
    mean is 1: (Bell and McCaffrey 2002, with equal values within a source). For equal shares the variance is G / (G -
    1) * sum of squares. There are G - 1 degrees of freedom. The variance is NaN with fewer than four sources.
    """
    present = np.isfinite(z)
    count = np.maximum(present.sum(axis=1, keepdims=True), 1)
    mean = mean_z(z)
    shares = sum_by_source(present, sources) / count
    sums = sum_by_source(np.where(present, z - mean[:, None], 0.0), sources) / count
    w2, w3 = (shares**2).sum(axis=1), (shares**3).sum(axis=1)
    touched = (shares > 0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (sums**2).sum(axis=1) * w2 / (w2 - 2 * w3 + w2**2)
    return Estimate(mean, np.where(touched >= MIN_CLUSTERS, variance, np.nan), np.maximum(touched - 1.0, 1))


def sum_by_source(values: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """Sum values (..., M) over the measures of each of the S sources: (..., S).

    >>> sum_by_source(np.array([1.0, 2.0, 4.0]), ["coco", "cub", "coco"]).tolist()
    [5.0, 2.0]
    """
    groups = columns_by_source(sources)
    sums = np.zeros((*values.shape[:-1], len(groups)))
    for k, columns in enumerate(groups):
        sums[..., k] = values[..., columns].sum(axis=-1)
    return sums


def columns_by_source(sources: Sequence[str]) -> list[np.ndarray]:
    """Return the positions of the measures of each source."""
    names = np.asarray(sources, dtype=str)
    return [np.flatnonzero(names == name) for name in dict.fromkeys(sources)]

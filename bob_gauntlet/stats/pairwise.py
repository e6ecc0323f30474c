"""Comparison of backbones on the measures that both have: wins, sign-flip tests over datasets, Holm's correction."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from bob_gauntlet.stats.clustered import columns_by_source

FLIPS = 4096
"""Flips of signs: all of them for up to 12 clusters, this many drawn ones for more."""

MIN_FLIPPED_CLUSTERS = 6
"""Clusters with which a p-value can reach 5%: with six the smallest one is 2 / 2^6 = 3.1%, with five 6.3%."""


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
    flipped. NaN without a difference.

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
    flipped_sums = np.abs(_draw_signs(len(cluster_sums), FLIPS, rng) @ cluster_sums)
    return float(np.mean(flipped_sums >= abs(cluster_sums.sum()) * (1 - 1e-12)))


def sign_flip_p_of_pairs(z: np.ndarray, sources: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Return two-sided p-values (B, B), corrected for all pairs, of equal mean z (B, M) on the measures of a pair.

    The signs of all differences of one dataset are flipped together, for all pairs at once. The statistic of a pair is
    the absolute sum of its differences over the root of the sum over datasets of their squares; the maximum over pairs
    is compared, step-down (Romano and Wolf, Econometrica 2005). This takes the dependence of the pairs, unequal numbers
    of measures and the choice of the best from the same data into account. NaN for pairs with fewer than six datasets.
    """
    p = np.full((len(z), len(z)), np.nan)
    sums, pairs = _pairwise_sums(z, sources)
    if not sums.size:
        return p
    # equal backbones have no difference to flip: 0 / tiny
    sums /= np.sqrt((sums**2).sum(axis=0)) + 1e-12
    observed = np.abs(sums.sum(axis=0))
    order = np.argsort(observed, kind="stable")
    # float32 halves the time of half a million pairs; flips that are equal up to its rounding count as equal
    sums, threshold = sums.astype(np.float32)[:, order], observed[order] * (1 - 1e-5)
    # a thousand backbones are half a million pairs: 100 flips are enough for a level of 5%
    signs = _draw_signs(len(sums), int(np.clip(5e7 / len(order), 100, FLIPS)), rng).astype(np.float32)
    exceeded = np.zeros(len(order))
    for some in np.array_split(signs, max(1, len(signs) * len(order) // 4_000_000)):
        # the largest statistic among a pair and all pairs that differ less
        largest = np.maximum.accumulate(np.abs(some @ sums), axis=1)
        exceeded += (largest >= threshold).sum(axis=0)
    corrected = np.empty(len(order))
    corrected[order] = np.maximum.accumulate((exceeded / len(signs))[::-1])[::-1]
    p.flat[pairs] = corrected
    return np.asarray(np.fmin(p, p.T))


def _pairwise_sums(z: np.ndarray, sources: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (S, P) sums over the common measures of each source of the differences of two backbones, and the pairs.

    The pairs are positions in a flat (B, B) array. Pairs with fewer than six sources are left out.
    """
    pairs = np.flatnonzero(np.triu(np.ones((len(z), len(z)), bool), 1))
    present = np.isfinite(z)
    filled = np.where(present, z, 0.0)
    sums, touched = np.empty((len(set(sources)), len(pairs))), np.zeros(len(pairs), np.int64)
    for k, columns in enumerate(columns_by_source(sources)):
        has_value = present[:, columns].astype(np.float64)
        totals = filled[:, columns] @ has_value.T
        sums[k] = np.take(totals - totals.T, pairs)
        touched += np.take(has_value @ has_value.T, pairs) > 0
    is_tested = touched >= MIN_FLIPPED_CLUSTERS
    return (sums, pairs) if is_tested.all() else (sums[:, is_tested], pairs[is_tested])


def _draw_signs(clusters: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return signs (F, C): all 2^C flips if these are at most `most`, else no flip and `most` - 1 drawn ones."""
    if 2**clusters <= most:
        return np.array(list(product((1.0, -1.0), repeat=clusters)))
    return np.vstack([np.ones(clusters), rng.choice((1.0, -1.0), size=(most - 1, clusters))])


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values (..., K) after Holm's (1979) step-down correction for the K tests of each row.

    NaN stays NaN and does not count as a test. SciPy has no such function: scipy.stats.false_discovery_control controls
    another error rate.

    >>> holm(np.array([0.01, 0.04, 0.03, np.nan])).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    order = np.argsort(p, axis=-1, kind="stable")  # NaN last
    tests = np.isfinite(p).sum(axis=-1, keepdims=True)
    factors = np.maximum(tests - np.arange(p.shape[-1]), 1)
    ordered = np.take_along_axis(p, order, -1) * factors
    corrected = np.full(p.shape, np.nan)
    np.put_along_axis(corrected, order, np.minimum(1.0, np.maximum.accumulate(ordered, axis=-1)), -1)
    return corrected

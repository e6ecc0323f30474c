"""Rank intervals and tie groups of given tests."""

import numpy as np
from scipy.stats import rankdata

from bob_gauntlet.stats import separation, zscores
from bob_gauntlet.stats.clustered import Estimate


def differences_of(means: list[float], stderr: float) -> Estimate:
    """Return differences of means with one standard error of a difference, which is known exactly."""
    values = np.array(means)
    shape = len(means), len(means)
    return Estimate(values[:, None] - values, np.full(shape, stderr**2), np.full(shape, np.inf))


def test_rank_intervals_count_who_is_told_apart() -> None:
    """Gaps of 1 and 10 standard errors: the first two may change places, the third cannot; the last is not compared."""
    compared = np.array([True, True, True, False])
    intervals = separation.rank_intervals(differences_of([11.0, 10.0, 0.0, 5.0], 1.0), compared)
    assert intervals.tolist() == [[1, 2], [1, 2], [3, 3], [0, 0]]


def test_tie_groups_are_led_by_their_best() -> None:
    """A backbone that the leader is not better than is in its group; the best of the rest leads the next one."""
    means = np.array([11.0, 10.0, 0.0, np.nan])
    better = separation.find_better(
        differences_of(means.tolist(), 1.0), means[:, None], ["a"], np.isfinite(means), np.random.default_rng(0)
    )
    assert separation.tie_groups(means, better).tolist() == [1, 1, 2, 0]


def test_both_uncertainties_must_agree() -> None:
    """A gap that is sure over test examples and not over eight datasets is no separation, and the other way round."""
    gaps = np.random.default_rng(0).normal(size=8)
    sources, both = list("abcdefgh"), np.ones(2, bool)
    for gap, stderr, expected in ((0.0, 0.001, False), (3.0, 0.001, True), (3.0, 100.0, False)):
        z = np.stack([gaps + gap, np.zeros(8)])
        differences = differences_of(z.mean(axis=1).tolist(), stderr)
        better = separation.find_better(differences, z, sources, both, np.random.default_rng(0))
        assert better[0, 1] == expected
        assert not better[1, 0]


def test_published_figures_are_tested_over_datasets_alone() -> None:
    """Without errors over test examples a pair is tested over six datasets; over three there is no test."""
    z = np.array([[2.0, 2.1, 1.9, 2.0, 2.2, 2.0], [1.0, 1.1, 0.9, 1.2, 1.0, 0.8]])
    unknown = Estimate(np.ones((2, 2)), np.full((2, 2), np.nan), np.full((2, 2), np.inf))
    for sources, expected in (("abcdef", True), ("aabbcc", False)):
        better = separation.find_better(unknown, z, list(sources), np.ones(2, bool), np.random.default_rng(0))
        assert better.tolist() == [[False, expected], [False, False]]


def test_ranks_of_a_large_table_are_scipys() -> None:
    """Ranks of a thousand backbones in two hundred draws, with ties, are those of scipy.stats.rankdata."""
    draws = np.random.default_rng(0).integers(0, 300, size=(200, 1000)).astype(float)
    np.testing.assert_array_equal(zscores.ranks(draws), rankdata(-draws, method="min", axis=1))

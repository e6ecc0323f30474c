"""Bootstrap draws, intervals and tie groups: coverage and false positives, measured by simulation."""

import numpy as np
import pytest
from scipy.stats import rankdata

from bob_gauntlet.stats import resampling, zscores
from bob_gauntlet.stats.resampling import ClusterWeights


def test_cluster_draws_have_the_cluster_robust_spread() -> None:
    """Where ten crops of a photo have equal values, the spread is that of 50 photos, not of 500 crops."""
    rng = np.random.default_rng(0)
    photos = rng.normal(size=50)
    crops = np.repeat(photos, 10)
    draws = resampling.cluster_draws(crops[None], [str(i // 10) for i in range(500)], rng, draws=4000)
    # the standard error of a mean of 50, population std: numpy
    assert draws.std() == pytest.approx(photos.std() / np.sqrt(50), rel=0.05)


def test_draws_are_joint() -> None:
    """Two backbones that differ by a constant never change places, however wide their intervals are."""
    rng = np.random.default_rng(0)
    easy = rng.random(200)
    draws = resampling.cluster_draws(np.stack([easy, easy - 0.01]), [str(i) for i in range(200)], rng)
    assert (draws[:, 0] > draws[:, 1]).all()
    low, high = resampling.interval(draws)[0]
    assert high - low > 0.02


def test_an_interval_covers_its_share() -> None:
    """95% of the bootstrap intervals of a mean of 200 values hold the true mean: 89 to 99 of 100, by the binomial."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        sample = rng.normal(loc=3.0, size=(1, 200))
        low, high = resampling.interval(resampling.cluster_draws(sample, [str(i) for i in range(200)], rng, draws=400))[
            0
        ]
        covered += low <= 3.0 <= high
    assert 89 <= covered <= 99


def test_a_backbone_without_value_has_no_interval() -> None:
    """A missing value gives a NaN interval, and the other backbones keep their intervals."""
    draws = resampling.normal_draws(np.array([1.0, np.nan]), np.array([0.1, 0.1]), np.random.default_rng(0))
    intervals = resampling.interval(draws)
    assert np.isfinite(intervals[0]).all()
    assert np.isnan(intervals[1]).all()


def test_a_score_without_standard_error_is_the_same_in_every_draw() -> None:
    """A published figure, which has no standard error, is the same in every draw."""
    draws = resampling.normal_draws(np.array([1.0]), np.array([np.nan]), np.random.default_rng(0))
    assert (draws == 1.0).all()


def test_tie_groups_are_led_by_their_best() -> None:
    """A backbone that reaches the leader in more than 5% of the draws is in its group; the next leads a new group."""
    means = np.array([3.0, 2.95, 1.0, np.nan])
    draws = resampling.normal_draws(means, np.full(4, 0.1), np.random.default_rng(0))
    groups = resampling.tie_groups(means, lambda a, b: bool(resampling.differs_over_examples(draws, a, b)))
    assert groups.tolist() == [1, 1, 2, 0]


def test_published_figures_are_tested_over_datasets_alone() -> None:
    """Without spread over test examples there is no answer; over six datasets there is one, over three none."""
    values = np.array([2.0, 1.0])
    draws = resampling.normal_draws(values, np.full(2, np.nan), np.random.default_rng(0))
    assert resampling.differs_over_examples(draws, 0, 1) is None
    z = np.array([[2.0, 2.1, 1.9, 2.0, 2.2, 2.0], [1.0, 1.1, 0.9, 1.2, 1.0, 0.8]])
    weights = ClusterWeights(list("abcdef"), np.random.default_rng(0))
    assert resampling.differs_over_settings(z, weights, 0, 1) is True
    assert resampling.differs_over_settings(z - [[0.0], [-1.0]], weights, 0, 1) is False
    three = ClusterWeights(list("aabbcc"), np.random.default_rng(0))
    assert resampling.differs_over_settings(z, three, 0, 1) is None


def test_the_choice_of_settings_needs_four_datasets() -> None:
    """Three datasets give no interval; four do (a point for equal z-scores), but not a backbone that has only two."""
    z = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 2.0, np.nan, np.nan]])
    few = ClusterWeights(["a", "b", "c", "c"], np.random.default_rng(0))
    assert np.isnan(resampling.settings_interval(z, few)).all()
    intervals = resampling.settings_interval(z, ClusterWeights(list("abcd"), np.random.default_rng(0)))
    np.testing.assert_allclose(intervals[0], 1.0)
    assert np.isnan(intervals[1]).all()


def test_drawn_means_are_those_of_the_drawn_datasets() -> None:
    """Means equal those of a plain loop over the same draws, also with a missing value."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=(3, 7))
    z[1, 2] = np.nan
    weights = ClusterWeights(list("aabccde"), rng, draws=50)
    means = weights.mean(z)
    for draw, counts in enumerate(weights.weights):
        for backbone, row in enumerate(z):
            repeated = np.repeat(row, counts.astype(int))
            assert means[draw, backbone] == pytest.approx(np.nanmean(repeated))


@pytest.mark.parametrize("datasets", [4, 6, 20])
def test_the_interval_over_datasets_covers_its_share(datasets: int) -> None:
    """Of 400 simulations with `datasets` datasets of two measures each, 95% of the intervals hold the true mean z.

    370 to 392 of 400 are 92.5% to 98%; the binomial distribution gives 380 +- 9.
    """
    rng = np.random.default_rng(datasets)
    effects = rng.normal(size=(400, datasets, 1)) + 0.5 * rng.normal(size=(400, datasets, 2))
    z = 0.7 + effects.reshape(400, -1)
    sources = [str(i // 2) for i in range(2 * datasets)]
    # each backbone is one simulation; all share the draws, which does not change the share of covered ones
    intervals = resampling.settings_interval(z, ClusterWeights(sources, rng, draws=4000))
    covered = int(((intervals[:, 0] <= 0.7) & (intervals[:, 1] >= 0.7)).sum())
    print(f"{datasets} datasets: {covered / 4:.1f}% of the intervals hold the true mean z")
    assert 370 <= covered <= 392


def test_two_equal_backbones_rarely_differ() -> None:
    """The better of two equal backbones is called better in about 10% of 400 simulations, one-sided at 5%."""
    rng = np.random.default_rng(5)
    weights = ClusterWeights([str(i) for i in range(8)], rng, draws=2000)
    called_better = 0
    for _ in range(400):
        z = rng.normal(size=(2, 8))
        leader = int(np.argmax(z.mean(axis=1)))
        called_better += bool(resampling.differs_over_settings(z, weights, leader, 1 - leader))
    assert 20 <= called_better <= 56


def test_ranks_of_a_large_table_are_scipys() -> None:
    """Ranks of a thousand backbones in two hundred draws, with ties, are those of scipy.stats.rankdata."""
    draws = np.random.default_rng(0).integers(0, 300, size=(200, 1000)).astype(float)
    np.testing.assert_array_equal(zscores.ranks(draws), rankdata(-draws, method="min", axis=1))

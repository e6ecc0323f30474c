"""Draws, intervals and tie groups: what they cover, measured by simulation."""

import numpy as np
import pytest
from scipy.stats import rankdata

from bob_gauntlet.stats import resampling, zscores
from bob_gauntlet.stats.resampling import ClusterWeights


def test_cluster_draws_have_the_cluster_robust_spread() -> None:
    """Ten equal examples of a photo are one piece of evidence: the spread is that of 50 photos, not of 500 crops."""
    rng = np.random.default_rng(0)
    photos = rng.normal(size=50)
    crops = np.repeat(photos, 10)
    draws = resampling.cluster_draws(crops[None], [str(i // 10) for i in range(500)], rng, draws=4000)
    # the standard error of a mean of 50, population std: numpy
    assert draws.std() == pytest.approx(photos.std() / np.sqrt(50), rel=0.05)


def test_draws_are_joint() -> None:
    """Two backbones that differ by a constant never change places, however wide their intervals."""
    rng = np.random.default_rng(0)
    easy = rng.random(200)
    draws = resampling.cluster_draws(np.stack([easy, easy - 0.01]), [str(i) for i in range(200)], rng)
    assert (draws[:, 0] > draws[:, 1]).all()
    low, high = resampling.interval(draws)[0]
    assert high - low > 0.02


def test_an_interval_covers_what_it_says() -> None:
    """95% of the bootstrap intervals of a mean of 200 hold the true mean: 89 to 99 of 100, binomially."""
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
    """NaN in, NaN out, and the others keep theirs."""
    draws = resampling.normal_draws(np.array([1.0, np.nan]), np.array([0.1, 0.1]), np.random.default_rng(0))
    found = resampling.interval(draws)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_a_score_without_standard_error_does_not_move() -> None:
    """A published number has no draws of its own."""
    draws = resampling.normal_draws(np.array([1.0]), np.array([np.nan]), np.random.default_rng(0))
    assert (draws == 1.0).all()


def test_tie_groups_are_led_by_their_best() -> None:
    """Whoever beats the leader in more than 5% of the draws is with it; the next begins a group."""
    means = np.array([3.0, 2.95, 1.0, np.nan])
    draws = resampling.normal_draws(means, np.full(4, 0.1), np.random.default_rng(0))
    groups = resampling.tie_groups(means, lambda a, b: bool(resampling.differs_over_examples(draws, a, b)))
    assert groups.tolist() == [1, 1, 2, 0]


def test_published_figures_are_told_apart_by_datasets_alone() -> None:
    """Without spread over examples there is no answer; over six datasets there is one."""
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
    """Three give no interval; four do, and equal z-scores make it a point; a backbone with two of them has none."""
    z = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 2.0, np.nan, np.nan]])
    few = ClusterWeights(["a", "b", "c", "c"], np.random.default_rng(0))
    assert np.isnan(resampling.settings_interval(z, few)).all()
    found = resampling.settings_interval(z, ClusterWeights(list("abcd"), np.random.default_rng(0)))
    np.testing.assert_allclose(found[0], 1.0)
    assert np.isnan(found[1]).all()


def test_drawn_means_are_those_of_the_drawn_datasets() -> None:
    """Against a plain loop over the same draws, with a missing value."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=(3, 7))
    z[1, 2] = np.nan
    weights = ClusterWeights(list("aabccde"), rng, draws=50)
    found = weights.mean(z)
    for draw, counts in enumerate(weights.weights):
        for backbone, row in enumerate(z):
            repeated = np.repeat(row, counts.astype(int))
            assert found[draw, backbone] == pytest.approx(np.nanmean(repeated))


@pytest.mark.parametrize("datasets", [4, 6, 20])
def test_the_interval_over_datasets_covers_what_it_says(datasets: int) -> None:
    """Of 400 made worlds with `datasets` datasets of two measures each, 95% of the intervals hold the true mean z.

    370 to 392 of 400 are 92.5% to 98%: binomially 380 +- 9.
    """
    rng = np.random.default_rng(datasets)
    effects = rng.normal(size=(400, datasets, 1)) + 0.5 * rng.normal(size=(400, datasets, 2))
    z = 0.7 + effects.reshape(400, -1)
    sources = [str(i // 2) for i in range(2 * datasets)]
    # one world a backbone; the draws are shared, which the share of covered worlds does not depend on
    found = resampling.settings_interval(z, ClusterWeights(sources, rng, draws=4000))
    held = int(((found[:, 0] <= 0.7) & (found[:, 1] >= 0.7)).sum())
    print(f"{datasets} datasets: {held / 4:.1f}% of the intervals hold the truth")
    assert 370 <= held <= 392


def test_two_equal_backbones_are_rarely_told_apart() -> None:
    """One-sided at 5%: the better of two equal ones is called better in about 10% of 400 worlds, at most 14%."""
    rng = np.random.default_rng(5)
    weights = ClusterWeights([str(i) for i in range(8)], rng, draws=2000)
    called = 0
    for _ in range(400):
        z = rng.normal(size=(2, 8))
        leader = int(np.argmax(z.mean(axis=1)))
        called += bool(resampling.differs_over_settings(z, weights, leader, 1 - leader))
    assert 20 <= called <= 56


def test_ranks_of_a_large_table_are_scipys() -> None:
    """A thousand backbones in two hundred draws, ties among them."""
    draws = np.random.default_rng(0).integers(0, 300, size=(200, 1000)).astype(float)
    np.testing.assert_array_equal(zscores.ranks(draws), rankdata(-draws, method="min", axis=1))

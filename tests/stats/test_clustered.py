"""Variances of clustered means, Student's t and intervals: against independent formulas and by simulation."""

import numpy as np
import pytest
from scipy.stats import bootstrap, t, ttest_rel

from bob_gauntlet.stats import clustered
from bob_gauntlet.stats.clustered import Contributions, Estimate, IndependentErrors, estimate_differences
from bob_gauntlet.stats.standard_error import clustered_standard_error, degrees_of_freedom


def contributions_of(values: np.ndarray) -> Contributions:
    """Return the contributions of (N, B) values, each of which is a cluster of its own."""
    return Contributions((values - values.mean(axis=0)) / len(values), np.ones(values.shape, bool))


def test_one_measure_is_the_paired_t_test() -> None:
    """The p-value of two backbones on one measure is that of scipy.stats.ttest_rel, for 5 and for 300 examples."""
    rng = np.random.default_rng(0)
    for examples in (5, 300):
        values = rng.normal(size=(examples, 3)) + rng.normal(size=(examples, 1))
        p = estimate_differences(values.mean(axis=0), [contributions_of(values)], []).p
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert p[i, j] == p[j, i] == pytest.approx(ttest_rel(values[:, i], values[:, j]).pvalue)
        assert np.isnan(np.diag(p)).all()


def test_clusters_have_the_spread_of_a_bootstrap_over_clusters() -> None:
    """Two measures that share 40 photos: the standard error of the mean is that of scipy.stats.bootstrap of photos."""
    rng = np.random.default_rng(1)
    photos = rng.normal(size=(40, 1))
    measures = [photos + rng.normal(size=(40, 2)) for _ in range(2)]
    together = Contributions(sum(contributions_of(m).values for m in measures) / 2, np.ones((40, 2), bool))
    variance = estimate_differences(np.zeros(2), [together], []).variance[0, 1]
    of_photos = np.mean([m[:, 0] - m[:, 1] for m in measures], axis=0)
    drawn = bootstrap((of_photos,), np.mean, n_resamples=4000, rng=rng).standard_error
    assert np.sqrt(variance) == pytest.approx(drawn, rel=0.05)


def test_independent_sources_are_added_as_by_satterthwaite() -> None:
    """Two sources of 5 and 50 clusters: the degrees of freedom are those of Satterthwaite's formula."""
    rng = np.random.default_rng(2)
    few, many = contributions_of(rng.normal(size=(5, 2))), contributions_of(rng.normal(size=(50, 2)))
    a, b = (estimate_differences(np.zeros(2), [part], []).variance[0, 1] for part in (few, many))
    both = estimate_differences(np.zeros(2), [few, many], [])
    assert both.variance[0, 1] == pytest.approx(a + b)
    assert both.degrees[0, 1] == pytest.approx((a + b) ** 2 / (a**2 / 4 + b**2 / 49))


def test_only_clusters_that_a_pair_touches_count() -> None:
    """Where both backbones have 4 of 10 clusters, there are 3 degrees of freedom."""
    values = np.zeros((10, 3))
    values[:4, :2], values[:, 2] = np.random.default_rng(0).normal(size=(4, 2)), 1.0
    part = Contributions(values, np.array([[True, True, True]] * 4 + [[False, False, True]] * 6))
    assert part.of_differences()[1].tolist() == [[3, 3, 9], [3, 3, 9], [9, 9, 9]]


def test_standard_errors_are_not_shared_by_backbones() -> None:
    """Standard errors of 3 and 4 give one of 5; a pair without any has no p-value."""
    errors = IndependentErrors(np.array([9.0, 16.0, 0.0, 0.0]), np.full(4, 20.0))
    differences = estimate_differences(np.array([10.0, 0.0, 5.0, 7.0]), [], [errors])
    assert np.sqrt(differences.variance[0, 1]) == pytest.approx(5)
    assert np.sqrt(differences.variance[0, 2]) == pytest.approx(3)
    assert np.isnan(differences.p[2, 3])


def test_equal_backbones_are_never_told_apart_by_rounding() -> None:
    """Values that are equal up to rounding have no p-value below 1; values that differ by a constant are certain."""
    values = np.random.default_rng(0).random((50, 1)) + np.array([0.0, 1e-13, 0.5])
    p = estimate_differences(values.mean(axis=0), [contributions_of(values)], []).p
    assert not p[0, 1] < 1
    assert p[0, 2] == 0


def test_the_choice_of_settings_needs_four_datasets() -> None:
    """Three datasets give no interval; four do (a point for equal z-scores), but not a backbone that has only two."""
    z = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 2.0, np.nan, np.nan]])
    assert np.isnan(clustered.estimate_means_over_datasets(z, ["a", "b", "c", "c"]).interval()).all()
    intervals = clustered.estimate_means_over_datasets(z, list("abcd")).interval()
    np.testing.assert_allclose(intervals[0], 1.0)
    assert np.isnan(intervals[1]).all()


def test_single_measures_have_the_interval_of_a_t_test() -> None:
    """With one measure a dataset the interval is mean +- t * s / sqrt(n); a missing value is skipped."""
    z = np.random.default_rng(0).normal(size=(1, 7))
    z[0, 3] = np.nan
    values = z[np.isfinite(z)]
    expected = t.interval(0.95, 5, values.mean(), values.std(ddof=1) / np.sqrt(6))
    np.testing.assert_allclose(clustered.estimate_means_over_datasets(z, list("abcdefg")).interval()[0], expected)


@pytest.mark.parametrize("sizes", [(2,) * 4, (2,) * 6, (2,) * 20, (4, 4, 2, *[1] * 18)], ids=["4", "6", "20", "paper"])
def test_the_interval_over_datasets_covers_its_share(sizes: tuple[int, ...]) -> None:
    """Of 4,000 worlds with these numbers of measures a dataset, 93 to 97% of the intervals hold the true mean z."""
    rng = np.random.default_rng(len(sizes))
    source_of_measure = np.repeat(np.arange(len(sizes)), sizes)
    effects = rng.normal(size=(4000, len(sizes)))[:, source_of_measure]
    z = 0.7 + effects + 0.5 * rng.normal(size=(4000, len(source_of_measure)))
    low, high = clustered.estimate_means_over_datasets(z, list(map(str, source_of_measure))).interval().T
    share = np.mean((low <= 0.7) & (high >= 0.7))
    print(f"{len(sizes)} datasets with {sum(sizes)} measures: {share:.1%} of the intervals hold the true mean z")
    assert 0.93 <= share <= 0.97


@pytest.mark.parametrize("clusters", [5, 21])
def test_a_clustered_standard_error_covers_with_students_t(clusters: int) -> None:
    """Value +- t * standard error holds the true value in 93 to 97% of 4,000 worlds; with 5 clusters +- 1.96 in 86%."""
    rng = np.random.default_rng(clusters)
    names = [str(i // 4) for i in range(4 * clusters)]
    covered = []
    for _ in range(4000):
        values = np.repeat(rng.normal(size=clusters), 4) + rng.normal(size=4 * clusters)
        error = clustered_standard_error(values, names)
        quantiles = clustered.student_t_quantile(0.975, degrees_of_freedom(error)), 1.96
        covered.append([abs(values.mean()) <= quantile * error["stderr"] for quantile in quantiles])
    with_t, with_normal = np.mean(covered, axis=0)
    print(f"{clusters} clusters: Student's t {with_t:.1%}, 1.96 standard errors {with_normal:.1%}")
    assert 0.93 <= with_t <= 0.97
    assert with_normal < with_t


def test_degrees_of_freedom_are_read_from_the_provenance() -> None:
    """They are the clusters, or else the examples, minus one; a bootstrap does not say how many it had."""
    assert degrees_of_freedom({"stderr_how": "over 21 clusters"}) == 20
    assert degrees_of_freedom({"stderr_how": "over 497 examples"}) == 496
    assert degrees_of_freedom({"stderr_how": "200 bootstrap draws of clusters"}) == np.inf
    assert degrees_of_freedom({}) == np.inf


def test_without_degrees_of_freedom_the_quantile_is_the_normal_one() -> None:
    """An infinite number of clusters gives 1.96 standard errors."""
    assert Estimate(np.zeros(1), np.ones(1), np.array([np.inf])).interval()[0, 1] == pytest.approx(1.959964)

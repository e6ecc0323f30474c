"""Correlations against scipy, and their laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import pearsonr, spearmanr

from bob_gauntlet.analysis.association import pearson, spearman

# few different values: most draws hold ties
TWO = arrays(np.float64, (2, 9), elements=st.integers(-4, 4).map(float))


@given(TWO)
def test_spearman_is_scipys(values: np.ndarray) -> None:
    """Ties share their mean rank; a constant has none."""
    found = spearman(*values)
    if np.ptp(values, axis=1).all():
        expected = spearmanr(*values)
        assert (found.r, found.p) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-9)
    else:
        assert np.isnan([found.r, found.p]).all()
    assert found.n == 9


@given(TWO)
def test_spearman_does_not_see_a_monotone_change(values: np.ndarray) -> None:
    """Ranks stay: x -> x^3 + x and y -> exp(y)."""
    a, b = spearman(*values), spearman(values[0] ** 3 + values[0], np.exp(values[1]))
    assert (a.r, a.p) == pytest.approx((b.r, b.p), nan_ok=True)


def test_pairs_with_a_missing_value_do_not_count() -> None:
    """And fewer than three pairs give nothing."""
    x, y = np.array([1.0, 2.0, 4.0, np.nan, 9.0]), np.array([1.0, 3.0, 2.0, 5.0, np.nan])
    expected = pearsonr(x[:3], y[:3])
    found = pearson(x, y)
    assert (found.r, found.p, found.n) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue), 3)
    assert np.isnan(pearson(x[:2], y[:2]).r)
    assert pearson(x[3:], y[3:]).n == 0


def test_what_differs_by_rounding_alone_is_a_constant() -> None:
    """Else scipy warns, and r is noise."""
    assert np.isnan(pearson(np.array([0.1 + 0.2, 0.3, 0.3]), np.arange(3.0)).r)

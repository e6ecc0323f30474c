"""Correlations compared with SciPy's, and their properties."""

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
def test_spearman_equals_scipys(values: np.ndarray) -> None:
    """Spearman's correlation equals SciPy's: tied values share their mean rank, and a constant input gives NaN."""
    result = spearman(*values)
    if np.ptp(values, axis=1).all():
        expected = spearmanr(*values)
        assert (result.r, result.p) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-9)
    else:
        assert np.isnan([result.r, result.p]).all()
    assert result.n == 9


@given(TWO)
def test_a_monotone_change_keeps_spearman(values: np.ndarray) -> None:
    """Strictly monotone changes keep all ranks: x -> x^3 + x and y -> exp(y) change nothing."""
    a, b = spearman(*values), spearman(values[0] ** 3 + values[0], np.exp(values[1]))
    assert (a.r, a.p) == pytest.approx((b.r, b.p), nan_ok=True)


def test_pairs_with_a_missing_value_do_not_count() -> None:
    """Pairs with a NaN are skipped, and fewer than three pairs give NaN."""
    x, y = np.array([1.0, 2.0, 4.0, np.nan, 9.0]), np.array([1.0, 3.0, 2.0, 5.0, np.nan])
    expected = pearsonr(x[:3], y[:3])
    result = pearson(x, y)
    assert (result.r, result.p, result.n) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue), 3)
    assert np.isnan(pearson(x[:2], y[:2]).r)
    assert pearson(x[3:], y[3:]).n == 0


def test_rounding_errors_count_as_constant() -> None:
    """Values that differ by rounding errors only count as constant; otherwise SciPy warns and r is meaningless."""
    assert np.isnan(pearson(np.array([0.1 + 0.2, 0.3, 0.3]), np.arange(3.0)).r)

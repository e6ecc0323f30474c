"""Leaving members out: the closed form against standardising anew."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bob_gauntlet.ranking import stability
from bob_gauntlet.stats import zscores

TABLE = arrays(np.float64, (6, 4), elements=st.sampled_from([1.0, 2.0, 3.5, 7.0, -4.0, np.nan]))


@given(TABLE, st.floats(-1e4, 1e4))
def test_leaving_one_out_is_standardising_without_it(values: np.ndarray, shift: float) -> None:
    """Member by member, also where a measure has few values, and far from zero."""
    values = values + shift
    signs = np.array([1.0, -1.0, 1.0, 1.0])
    members = np.array([0, 1, 2, 3, 4])
    found = stability.mean_z_without_each_member(values, signs, members)
    for k, gone in enumerate(members):
        kept = [m for m in members if m != gone]
        z = np.full(values.shape, np.nan)
        for j in range(4):
            column = values[kept, j]
            reference = zscores.reference(list(column[np.isfinite(column)]))
            z[:, j] = reference.z(values[:, j], int(signs[j]))
        np.testing.assert_allclose(found[k], zscores.mean_z(z), atol=1e-6)


def test_the_top_holds_in_the_share_that_keeps_it() -> None:
    """Three variants of five backbones: the same, one newcomer in the top, and one whose best was left out."""
    overall = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    orders = np.array([[3.0, 4.0, 5.0, 2.0, 1.0], [5.0, 4.0, 1.0, 2.0, 0.0], [9.0, 4.0, 3.0, 2.0, 1.0]])
    assert stability.share_with_same_top(orders, overall, [None, None, 0]) == pytest.approx(2 / 3)

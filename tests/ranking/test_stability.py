"""Stability of the best backbones: the closed form agrees with standardising again."""

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
    """The closed form gives the same mean z for each member, also with few values and far from zero."""
    values = values + shift
    signs = np.array([1.0, -1.0, 1.0, 1.0])
    members = np.array([0, 1, 2, 3, 4])
    mean_z = stability.mean_z_without_each_member(values, signs, members)
    for k, left_out in enumerate(members):
        kept = [m for m in members if m != left_out]
        z = np.full(values.shape, np.nan)
        for j in range(4):
            column = values[kept, j]
            reference = zscores.reference(list(column[np.isfinite(column)]))
            z[:, j] = reference.z(values[:, j], int(signs[j]))
        np.testing.assert_allclose(mean_z[k], zscores.mean_z(z), atol=1e-6)


def test_share_of_variants_with_the_same_top() -> None:
    """Of three variants of five backbones, one has the same top, one another top, and one leaves out the best."""
    mean_z = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    variants = np.array([[3.0, 4.0, 5.0, 2.0, 1.0], [5.0, 4.0, 1.0, 2.0, 0.0], [9.0, 4.0, 3.0, 2.0, 1.0]])
    assert stability.share_with_same_top(variants, mean_z, [None, None, 0]) == pytest.approx(2 / 3)

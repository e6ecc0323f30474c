"""Cells of tables, and comparisons with the paper's figures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.analysis.result import (
    UNEXPLAINED,
    compare,
    compare_axis,
    compare_order,
    matches_printed,
    table,
    ticks_fit,
)


@given(st.integers(-10_000, 10_000), st.floats(-0.49, 0.49))
def test_a_printed_number_matches_what_rounds_to_it(units: int, rest: float) -> None:
    """A printed number with two decimals matches values within half a unit, and none a unit and a half away."""
    printed = f"{units / 100:.2f}"
    assert matches_printed(printed, (units + rest) / 100)
    assert not matches_printed(printed, (units + 1.5) / 100)
    assert not matches_printed(printed, (units - 1.5) / 100)


def test_a_printed_number_matches_cut_digits() -> None:
    """-0.99 matches -0.996, as Table 19 prints ResNet-50; 0.58 does not match -0.58."""
    assert matches_printed("-0.99", -0.996)
    assert not matches_printed("-0.99", -0.985)
    assert not matches_printed("0.58", -0.585)
    assert not matches_printed("0.58", float("nan"))


def test_a_reason_stands_only_where_figures_differ() -> None:
    """A reason is shown only for a difference, and a difference without a reason is called unexplained."""
    assert compare("x", "t", "0.50", 0.504, "no").why == ""
    assert compare("x", "t", "0.50", 0.51, "no").why == "no"
    assert compare("x", "t", "0.50", 0.51).why == UNEXPLAINED
    assert compare("x", "t", "0.50", float("nan")).ours == "–"
    assert compare_order("x", "t", ["a", "b"], ["a", "b"], "no").why == ""
    assert compare_order("x", "t", ["a", "b"], ["b", "a"], "no").why == "no"
    assert compare_order("x", "t", ["a", "b"], ["a", "b", "c"]).why == UNEXPLAINED


@pytest.mark.parametrize(
    ("low", "high", "fits"), [(-0.35, 2.01, True), (-0.86, 1.08, False), (0.5, 2.4, False), (-0.99, 2.01, False)]
)
def test_an_axis_has_the_ticks_within_its_range(low: float, high: float, fits: bool) -> None:
    """Ticks fit the range of their axis: Figure 2, right, prints 0, 1, 2, and our data have the first range."""
    assert ticks_fit((0, 1, 2), low, high) is fits
    assert (compare_axis("x", "f", (0, 1, 2), [low, high, (low + high) / 2]).why == "") is fits


def test_cells_are_plain() -> None:
    """A missing value is None, not NaN, because JSON has neither NaN nor infinity."""
    built = table("t", {"a": "", "b": ".1f"}, [(np.str_("x"), np.float64(2)), ("y", np.nan), ("z", np.int64(3))])
    assert built.rows == (("x", 2.0), ("y", None), ("z", 3))
    assert [type(row[0]) for row in built.rows] == [str, str, str]
    assert type(built.rows[2][1]) is int
    assert built.records()[0] == {"a": "x", "b": 2.0}
    assert table("t", {"a": ""}, [(np.inf,), (np.float32(-np.inf),)]).rows == ((None,), (None,))

"""Cells, and figures of the paper beside ours."""

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
def test_a_printed_figure_is_met_by_what_rounds_to_it(units: int, rest: float) -> None:
    """Two decimals; within half a unit ours is the same, a unit and a half away it is not."""
    printed = f"{units / 100:.2f}"
    assert matches_printed(printed, (units + rest) / 100)
    assert not matches_printed(printed, (units + 1.5) / 100)
    assert not matches_printed(printed, (units - 1.5) / 100)


def test_cut_digits_are_met_too() -> None:
    """-0.99 for -0.996 is how Table 19 prints ResNet-50; 0.58 for -0.58 is not the same."""
    assert matches_printed("-0.99", -0.996)
    assert not matches_printed("-0.99", -0.985)
    assert not matches_printed("0.58", -0.585)
    assert not matches_printed("0.58", float("nan"))


def test_a_reason_stands_only_where_figures_differ() -> None:
    """And a difference without a reason says so."""
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
    """Figure 2, right, prints 0, 1, 2; PROTOCOLS 5.5 gives the first two ranges."""
    assert ticks_fit((0, 1, 2), low, high) is fits
    assert (compare_axis("x", "f", (0, 1, 2), [low, high, (low + high) / 2]).why == "") is fits


def test_cells_are_plain() -> None:
    """What is missing is None, not NaN: JSON has none."""
    found = table("t", {"a": "", "b": ".1f"}, [(np.str_("x"), np.float64(2)), ("y", np.nan), ("z", np.int64(3))])
    assert found.rows == (("x", 2.0), ("y", None), ("z", 3))
    assert [type(row[0]) for row in found.rows] == [str, str, str]
    assert type(found.rows[2][1]) is int
    assert found.records()[0] == {"a": "x", "b": 2.0}

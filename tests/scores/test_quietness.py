"""Tests of the records that tell whether the machine was quiet while times were measured."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.scores import quietness
from bob_gauntlet.scores.quietness import describe, same_speed, signs_of_noise, why_not_ranked

QUIET: dict[str, Any] = {
    "repeats": 30,
    "threads": 1,
    "spread": 0.02,
    "load": 1.0,
    "cores": 2,
    "cpu_share": 0.99,
    "matrix_product": {"quickest_ms": 1.0, "median_ms": 1.05},
    "memory_pass": {"quickest_ms": 2.0, "median_ms": 2.1},
}
"""The record of a quiet machine."""

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(QUIET)), inner, max_size=4),
    max_leaves=8,
)


def test_a_quiet_machine_shows_no_sign() -> None:
    """No figure of a quiet machine is over its limit, and its time is ranked."""
    assert signs_of_noise(QUIET) == []
    assert why_not_ranked(QUIET, "efficiency@noise", "mine", "mini") == ""


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        (
            {"matrix_product": {"quickest_ms": 1.0, "median_ms": 2.1}},
            "the fixed matrix product took 2.1 times its quickest",
        ),
        ({"memory_pass": {"quickest_ms": 2.0, "median_ms": 6.0}}, "the fixed memory pass took 3.0 times its quickest"),
        ({"spread": 0.38}, "spread of repeats 38%"),
        ({"load": 3.2}, "load 3.2 on 2 cores"),
        ({"cpu_share": 0.66}, "66% of a core's time"),
    ],
    ids=["matrix product", "memory pass", "spread", "load", "share of the core"],
)  # fmt: skip
def test_each_sign_alone_is_named(change: dict[str, Any], sign: str) -> None:
    """Each figure over its limit forbids the ranking by itself, and the reason says what to type."""
    noisy = {**QUIET, **change}
    assert signs_of_noise(noisy) == [sign]
    assert why_not_ranked(noisy, "efficiency@noise", "a b", "paper") == (
        f"the machine was not quiet: {sign}; run it again alone: pytest suites/ '--backbone=a b' -k efficiency "
        "--scale paper --bob-rerun"
    )


def test_the_message_has_every_sign() -> None:
    """A machine that was busy in several ways has them all in one line."""
    noisy = {**QUIET, "matrix_product": {"quickest_ms": 1.0, "median_ms": 2.1}, "spread": 0.38, "load": 3.2}
    assert why_not_ranked(noisy, "efficiency@noise", "X", "mini") == (
        "the machine was not quiet: the fixed matrix product took 2.1 times its quickest, spread of repeats 38%, load "
        "3.2 on 2 cores; run it again alone: pytest suites/ --backbone=X -k efficiency --bob-rerun"
    )


def test_the_limits_themselves_are_quiet() -> None:
    """A figure at its limit is allowed, and one just beyond it is not."""
    for key, limit in (("spread", quietness.MAX_SPREAD), ("load", 2), ("cpu_share", quietness.MIN_CPU_SHARE)):
        beyond = limit * (0.99 if key == "cpu_share" else 1.01)
        assert signs_of_noise({**QUIET, key: limit}) == []
        assert len(signs_of_noise({**QUIET, key: beyond})) == 1


def test_the_share_of_the_core_is_judged_on_one_thread_only() -> None:
    """Several threads wait for each other also on a quiet machine; a GPU has no such figure."""
    assert signs_of_noise({**QUIET, "threads": 2, "cpu_share": 0.6}) == []
    assert signs_of_noise({**QUIET, "cpu_share": None}) == []


def test_the_figures_are_described() -> None:
    """The description has every figure of the record, quiet or not."""
    assert describe(QUIET) == (
        "on 1 thread: spread of repeats 2%, load 1.0 on 2 cores, matrix product 1.05 times its quickest, memory pass "
        "1.05 times its quickest, 99% of a core's time"
    )
    assert describe({**QUIET, "threads": 2}).startswith("on 2 threads: ")
    assert describe({}) == ""


@given(json)
def test_a_damaged_record_is_not_judged_and_never_raises(record: object) -> None:
    """Whatever JSON stands in the place of a record, every function returns."""
    assert isinstance(signs_of_noise(record), list)
    assert isinstance(describe(record), str)
    assert isinstance(why_not_ranked(record, "efficiency@noise", "x", "mini"), str)
    assert isinstance(same_speed(record, QUIET), bool)


@pytest.mark.parametrize(("factor", "same"), [(1.0, True), (1.1, True), (1.2, False), (0.8, False)])
@pytest.mark.parametrize("kernel", ["matrix_product", "memory_pass"])
def test_machines_are_equally_fast_where_both_kernels_are(kernel: str, factor: float, same: bool) -> None:
    """Either kernel tells two machines of one name apart, in both directions."""
    other = {**QUIET, kernel: {"quickest_ms": QUIET[kernel]["quickest_ms"] * factor, "median_ms": 9.0}}
    assert same_speed(QUIET, other) is same
    assert same_speed(other, QUIET) is same
    assert not same_speed(QUIET, {})

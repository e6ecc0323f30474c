"""Paired tests of two backbones: exact p-values by hand and by SciPy, and false positives by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test

from bob_gauntlet.stats import pairwise


def test_flipping_signs_is_scipys_exact_paired_test() -> None:
    """The p-value is that of scipy.stats.permutation_test, which flips signs with permutation_type="samples"."""
    gaps = np.random.default_rng(0).normal(0.4, 1, size=9)
    reference = permutation_test((gaps, np.zeros(9)), lambda a, b: np.mean(a - b), permutation_type="samples")
    p = pairwise.sign_flip_p(gaps, [str(i) for i in range(9)], np.random.default_rng(0))
    assert p == pytest.approx(reference.pvalue)


def test_measures_of_one_dataset_are_flipped_together() -> None:
    """Ten equal gaps have p = 1 if they come from one dataset, and 2 / 2^10 if they come from ten."""
    gaps = np.full(10, 0.5)
    rng = np.random.default_rng(0)
    assert pairwise.sign_flip_p(gaps, ["coco"] * 10, rng) == 1.0
    assert pairwise.sign_flip_p(gaps, [str(i) for i in range(10)], rng) == 2 / 2**10


def test_flips_of_many_datasets_are_drawn() -> None:
    """For twenty equal gaps at least 1 of 4,096 draws is as extreme: the one without flips."""
    p = pairwise.sign_flip_p(np.ones(20), [str(i) for i in range(20)], np.random.default_rng(0))
    assert 1 / 4096 <= p <= 3 / 4096


def test_false_positives_are_as_frequent_as_the_level() -> None:
    """Of 500 pairs without a difference at most 7% have p <= 5% (25 +- 10 by the binomial distribution)."""
    rng = np.random.default_rng(1)
    p_values = [pairwise.sign_flip_p(rng.normal(size=8), [str(i) for i in range(8)], rng) for _ in range(500)]
    assert 10 <= sum(p <= 0.05 for p in p_values) <= 36


def test_missing_and_constant_pairs_have_no_p() -> None:
    """Missing values and draws without spread give NaN."""
    rng = np.random.default_rng(0)
    assert np.isnan(pairwise.sign_flip_p(np.array([np.nan]), ["a"], rng))
    assert np.isnan(pairwise.bootstrap_p(np.ones(10)))
    assert np.isnan(pairwise.bootstrap_p(np.array([1.0, np.nan])))
    assert np.isnan(pairwise.wins(np.array([np.nan]), np.array([1.0])))


def test_bootstrap_p_is_never_zero() -> None:
    """A thousand draws on one side of zero give p = 2 / 1,001."""
    assert pairwise.bootstrap_p(1 + np.arange(1000.0)) == pytest.approx(2 / 1001)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_textbooks(p: list[float]) -> None:
    """The k-th smallest p-value is multiplied by the number of tests left; results never fall and are at most 1."""
    corrected = pairwise.holm(np.array(p))
    largest = 0.0
    for k, i in enumerate(np.argsort(p, kind="stable")):
        largest = max(largest, min(1.0, p[i] * (len(p) - k)))
        assert corrected[i] == pytest.approx(largest)

"""Paired tests of backbones: exact p-values by hand and by SciPy, and false positives by simulation."""

from itertools import product

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


def test_missing_pairs_have_no_p() -> None:
    """Missing values give NaN."""
    assert np.isnan(pairwise.sign_flip_p(np.array([np.nan]), ["a"], np.random.default_rng(0)))
    assert np.isnan(pairwise.wins(np.array([np.nan]), np.array([1.0])))


def test_a_table_of_two_has_the_p_value_of_the_pair() -> None:
    """Without other pairs the corrected p-value is that of the test of one pair, with unequal sources as well."""
    z = np.random.default_rng(3).normal(size=(2, 12)) + np.array([[0.8], [0.0]])
    sources = list("aaabbcdefghi")
    one_pair = pairwise.sign_flip_p(z[0] - z[1], sources, np.random.default_rng(0))
    p = pairwise.sign_flip_p_of_pairs(z, sources, np.random.default_rng(0))
    assert p[0, 1] == p[1, 0] == pytest.approx(one_pair)
    assert np.isnan(p[0, 0])


def test_pairs_with_few_datasets_are_not_tested() -> None:
    """With five common datasets no p-value reaches 5%; with six equal gaps it is 2 / 2^6."""
    z = np.stack([np.ones(6), np.zeros(6), [0, 0, 0, 0, 0, np.nan]])
    p = pairwise.sign_flip_p_of_pairs(z, list("abcdef"), np.random.default_rng(0))
    assert np.isnan(p[0, 2])
    assert p[0, 1] == 2 / 2**6


def test_pairs_are_corrected_step_down() -> None:
    """The corrected p-values are those of a plain loop over all flips, as Romano and Wolf (2005) describe it."""
    z = np.random.default_rng(5).normal(size=(4, 7)) + np.array([[2.0], [1.0], [0.0], [0.0]])
    corrected = pairwise.sign_flip_p_of_pairs(z, list("abcdefg"), np.random.default_rng(0))
    gaps = {(i, j): z[i] - z[j] for i in range(4) for j in range(i)}
    statistic = {pair: abs(gap.sum()) / np.sqrt((gap**2).sum()) for pair, gap in gaps.items()}
    order, smallest = sorted(gaps, key=lambda pair: -statistic[pair]), 0.0
    for k, pair in enumerate(order):
        flipped = [
            max(abs((np.array(signs) * gaps[other]).sum()) / np.sqrt((gaps[other] ** 2).sum()) for other in order[k:])
            for signs in product((1, -1), repeat=7)
        ]
        smallest = max(smallest, float(np.mean(np.array(flipped) >= statistic[pair] - 1e-9)))
        assert corrected[pair] == pytest.approx(smallest)


def test_holm_corrects_each_row() -> None:
    """A matrix is corrected row by row."""
    p = np.array([[0.01, 0.2, np.nan], [0.5, 0.02, 0.03]])
    np.testing.assert_array_equal(pairwise.holm(p), [pairwise.holm(row) for row in p])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_textbooks(p: list[float]) -> None:
    """The k-th smallest p-value is multiplied by the number of tests left; results never fall and are at most 1."""
    corrected = pairwise.holm(np.array(p))
    largest = 0.0
    for k, i in enumerate(np.argsort(p, kind="stable")):
        largest = max(largest, min(1.0, p[i] * (len(p) - k)))
        assert corrected[i] == pytest.approx(largest)

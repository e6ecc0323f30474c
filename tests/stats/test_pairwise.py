"""Paired tests of two backbones: exact where they can be worked by hand, and of the right size by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test

from bob_gauntlet.stats import pairwise


def test_flipping_signs_is_scipys_exact_paired_test() -> None:
    """scipy.stats.permutation_test with permutation_type="samples" flips the signs of pairs."""
    gaps = np.random.default_rng(0).normal(0.4, 1, size=9)
    reference = permutation_test((gaps, np.zeros(9)), lambda a, b: np.mean(a - b), permutation_type="samples")
    found = pairwise.sign_flip_p(gaps, [str(i) for i in range(9)], np.random.default_rng(0))
    assert found == pytest.approx(reference.pvalue)


def test_measures_of_one_dataset_are_one_piece_of_evidence() -> None:
    """Ten measures of one dataset that agree tell nothing: p = 1; of ten datasets 2 / 2^10."""
    gaps = np.full(10, 0.5)
    rng = np.random.default_rng(0)
    assert pairwise.sign_flip_p(gaps, ["coco"] * 10, rng) == 1.0
    assert pairwise.sign_flip_p(gaps, [str(i) for i in range(10)], rng) == 2 / 2**10


def test_many_datasets_are_drawn() -> None:
    """Twenty equal gaps: only the unflipped world and its mirror reach them, 1 of 4,096 draws at least."""
    p = pairwise.sign_flip_p(np.ones(20), [str(i) for i in range(20)], np.random.default_rng(0))
    assert 1 / 4096 <= p <= 3 / 4096


def test_the_test_is_of_its_size() -> None:
    """Of 500 pairs without a difference at most 7% have p <= 5% (binomially 25 +- 10)."""
    rng = np.random.default_rng(1)
    found = [pairwise.sign_flip_p(rng.normal(size=8), [str(i) for i in range(8)], rng) for _ in range(500)]
    assert 10 <= sum(p <= 0.05 for p in found) <= 36


def test_missing_and_constant_pairs_have_no_p() -> None:
    """NaN in, NaN out."""
    rng = np.random.default_rng(0)
    assert np.isnan(pairwise.sign_flip_p(np.array([np.nan]), ["a"], rng))
    assert np.isnan(pairwise.bootstrap_p(np.ones(10)))
    assert np.isnan(pairwise.bootstrap_p(np.array([1.0, np.nan])))
    assert np.isnan(pairwise.wins(np.array([np.nan]), np.array([1.0])))


def test_bootstrap_p_is_never_zero() -> None:
    """A thousand draws on one side: 2 / 1,001."""
    assert pairwise.bootstrap_p(1 + np.arange(1000.0)) == pytest.approx(2 / 1001)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_textbooks(p: list[float]) -> None:
    """Step down: the k-th smallest times what is left, never falling, at most 1."""
    found = pairwise.holm(np.array(p))
    worst = 0.0
    for k, i in enumerate(np.argsort(p, kind="stable")):
        worst = max(worst, min(1.0, p[i] * (len(p) - k)))
        assert found[i] == pytest.approx(worst)

"""Top-k accuracy and AUC against slow references and scikit-learn."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from bob_gauntlet.metrics.classification import in_top_k, label_aucs

# few different values, so that most draws hold ties
COARSE = st.integers(-2, 2).map(float)


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw (N, C) scores with many ties, and (N,) classes."""
    count, classes = draw(st.integers(1, 12)), draw(st.integers(2, 6))
    scores = draw(hnp.arrays(np.float64, (count, classes), elements=COARSE))
    return scores, draw(hnp.arrays(np.int64, count, elements=st.integers(0, classes - 1)))


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw (N, C) scores with many ties, and (N, C) labels of 0 and 1."""
    shape = draw(st.integers(1, 20)), draw(st.integers(1, 4))
    scores = draw(hnp.arrays(np.float64, shape, elements=COARSE))
    return scores, draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 1)))


def slow_in_top_k(row: list[float], target: int, k: int) -> bool:
    """Sort the classes by score, the true one after equal ones; return whether it is among the first k."""
    order = sorted(range(len(row)), key=lambda c: (-row[c], c == target))
    return target in order[:k]


def slow_auc(scores: list[float], targets: list[int]) -> float:
    """Return the share of (positive, negative) pairs in the right order, where a tie counts half."""
    positives, negatives = ([s for s, t in zip(scores, targets, strict=True) if t == value] for value in (1, 0))
    order = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positives for n in negatives]
    return sum(order) / len(order) if order else math.nan


@given(scored(), st.integers(1, 6))
def test_top_k_is_the_place_in_the_sorted_list(drawn: tuple[np.ndarray, np.ndarray], k: int) -> None:
    """The result is that of sorting each row in Python, where the true class comes after equal ones."""
    scores, targets = drawn
    expected = [slow_in_top_k(row, target, k) for row, target in zip(scores.tolist(), targets.tolist(), strict=True)]
    assert in_top_k(scores, targets, k).tolist() == expected


@given(scored(), st.integers(1, 6), st.randoms(use_true_random=False))
def test_the_order_of_classes_earns_nothing(drawn: tuple[np.ndarray, np.ndarray], k: int, random: Random) -> None:
    """Another order of the classes changes no example."""
    scores, targets = drawn
    order = np.array(random.sample(range(scores.shape[1]), scores.shape[1]))
    renamed = in_top_k(scores[:, order], np.argsort(order)[targets], k)
    assert renamed.tolist() == in_top_k(scores, targets, k).tolist()


@pytest.mark.parametrize("k", [1, 2])
def test_constant_scores_are_never_right(k: int) -> None:
    """A head with the same score for every class is never right."""
    assert not in_top_k(np.zeros((5, 3)), np.array([0, 1, 2, 0, 1]), k).any()


def test_every_class_is_among_all_of_them() -> None:
    """With k = the number of classes every example is right, also with constant scores."""
    assert in_top_k(np.zeros((3, 3)), np.arange(3), 3).all()


@given(labelled())
def test_auc_is_the_share_of_pairs_in_order(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    """It is equal to the pairwise definition (Hanley and McNeil 1982), and NaN where a label has one value only."""
    scores, targets = drawn
    expected = [slow_auc(s, t) for s, t in zip(scores.T.tolist(), targets.T.tolist(), strict=True)]
    np.testing.assert_allclose(label_aucs(scores, targets), expected, atol=1e-12)


@given(labelled())
def test_auc_is_scikit_learns(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    """It is equal to sklearn.metrics.roc_auc_score, also with ties."""
    scores, targets = drawn
    whole = (targets.min(axis=0) == 0) & (targets.max(axis=0) == 1)
    assume(whole.any())
    expected = [roc_auc_score(targets[:, c], scores[:, c]) for c in np.flatnonzero(whole)]
    np.testing.assert_allclose(label_aucs(scores, targets)[whole], expected, atol=1e-12)


def test_float32_scores_and_boolean_targets_are_taken() -> None:
    """Both types are accepted: a positive that scores above one of two negatives has the AUC 0.5."""
    scores = np.array([[0.2], [0.9], [0.5]], np.float32)
    assert label_aucs(scores, np.array([[False], [False], [True]])).tolist() == [0.5]  # (0 + 1) / 2 pairs

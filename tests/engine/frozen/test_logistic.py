"""Logistic regression: the optimum is scikit-learn's, for every strength and any size of blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from bob_gauntlet.engine.frozen import logistic
from bob_gauntlet.engine.frozen.logistic import Head, regularisation_path
from tests.helpers.synthetic_features import overlapping_classes


def scikit(features: np.ndarray, targets: np.ndarray, strength: float) -> tuple[float, np.ndarray]:
    """Return scikit-learn's objective and probabilities on standardised features, at a very small tolerance."""
    x = (features - features.mean(axis=0)) / features.std(axis=0)
    model = LogisticRegression(C=1 / (len(x) * strength), tol=1e-10, max_iter=20_000).fit(x.astype(np.float64), targets)
    log = model.predict_log_proba(x.astype(np.float64))
    penalty = strength / 2 * (model.coef_**2).sum()
    return float(-log[np.arange(len(targets)), targets].mean() + penalty), np.exp(log)


@pytest.mark.parametrize(("count", "width"), [(300, 12), (60, 90)], ids=["N > D", "N < D"])
@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4])
def test_the_optimum_is_scikit_learns(count: int, width: int, strength: float) -> None:
    """The objective agrees to 1e-4 and the probabilities to 1e-2; a strictly convex problem has one solution."""
    features, targets = overlapping_classes(count, width, 3)
    heads = list(regularisation_path(features, targets, 3, [1.0, 1e-1, 1e-2, 1e-3, 1e-4], tolerance=1e-9))
    head = next(head for head in heads if head.strength == strength)
    objective, probabilities = scikit(features, targets, strength)
    assert head.objective == pytest.approx(objective, rel=1e-4)
    logits = head.logits(features)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(exponentials / exponentials.sum(axis=1, keepdims=True), probabilities, atol=1e-2)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 5), st.integers(10, 60), st.integers(1, 8), st.integers(0, 99))
def test_the_gradient_vanishes_at_the_answer(classes: int, count: int, width: int, seed: int) -> None:
    """The gradient at the solution is near zero, computed in float64 without the solver's code."""
    features, targets = overlapping_classes(max(count, 2 * classes), width, classes, seed)
    [head] = regularisation_path(features, targets, classes, [1e-2], tolerance=1e-10)
    x = (features.astype(np.float64) - head.mean) / head.scale
    logits = x @ head.weight + head.bias
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(targets)), targets] -= 1
    gradient = x.T @ p / len(x) + 1e-2 * head.weight
    assert np.abs(gradient).max() < 2e-3
    assert np.abs(p.mean(axis=0)).max() < 2e-3


def test_a_warm_start_changes_nothing_but_the_work() -> None:
    """The path ends at the solution of a cold start, and a warm start needs fewer evaluations."""
    features, targets = overlapping_classes(200, 20, 4)
    warm = list(regularisation_path(features, targets, 4, [1.0, 1e-1, 1e-2, 1e-3], tolerance=1e-9))[-1]
    [cold] = regularisation_path(features, targets, 4, [1e-3], tolerance=1e-9)
    assert warm.objective == pytest.approx(cold.objective, rel=1e-5)
    [again] = regularisation_path(features, targets, 4, [1e-3], tolerance=1e-9, start=warm)
    assert again.evaluations < cold.evaluations


def test_blocks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The solution with blocks of 256 rows is that with one block."""
    features, targets = overlapping_classes(700, 10, 3)
    [whole] = regularisation_path(features, targets, 3, [1e-3], tolerance=1e-9)
    monkeypatch.setattr(logistic, "_LOGITS_IN_BLOCK", 1)
    monkeypatch.setattr(logistic, "_ROWS", 100)
    [blocks] = regularisation_path(features, targets, 3, [1e-3], tolerance=1e-9)
    np.testing.assert_allclose(blocks.logits(features), whole.logits(features), atol=2e-2)


def test_multi_label_is_one_against_the_rest_each() -> None:
    """The head of each label is the binary logistic regression of that label alone."""
    features, targets = overlapping_classes(300, 8, 4)
    labels = np.stack([targets < 2, targets % 2 == 0], axis=1).astype(np.int64)
    [head] = regularisation_path(features, labels, 2, [1e-2], tolerance=1e-10)
    x = (features - features.mean(axis=0)) / features.std(axis=0)
    for label in range(2):
        # the loss is a sum over labels and a mean over images, so the strength is that of each
        model = LogisticRegression(C=1 / (len(x) * 1e-2), tol=1e-10, max_iter=9999).fit(x, labels[:, label])
        np.testing.assert_allclose(head.logits(features)[:, label], model.decision_function(x), atol=3e-2)


def test_strengths_come_strongest_first_and_each_is_solved() -> None:
    """The heads come from the largest strength down, in whatever order the strengths are given, and all converge."""
    features, targets = overlapping_classes(100, 5, 2)
    heads = list(regularisation_path(features, targets, 2, [1e-3, 10.0, 1e-1]))
    assert [h.strength for h in heads] == [10.0, 1e-1, 1e-3]
    assert all(h.converged for h in heads)
    assert [h.objective for h in heads] == sorted((h.objective for h in heads), reverse=True)


def test_a_constant_feature_has_no_say() -> None:
    """A constant feature is not divided by zero and does not change the logits."""
    features, targets = overlapping_classes(100, 5, 2)
    [without] = regularisation_path(features, targets, 2, [1e-2], tolerance=1e-9)
    wide = np.concatenate([features, np.full((100, 1), 3.0, np.float32)], axis=1)
    [with_it] = regularisation_path(wide, targets, 2, [1e-2], tolerance=1e-9)
    np.testing.assert_allclose(with_it.logits(wide), without.logits(features), atol=1e-3)


def test_it_is_deterministic() -> None:
    """Two runs give the same bits, with the same number of threads."""
    features, targets = overlapping_classes(200, 30, 3)
    first, second = (list(regularisation_path(features, targets, 3, [1e-1, 1e-3])) for _ in range(2))
    assert all((a.weight == b.weight).all() for a, b in zip(first, second, strict=True))


def test_scores_are_of_raw_features() -> None:
    """A head takes features that are not standardised."""
    head = Head(np.array([[2.0]]), np.array([1.0]), np.array([10.0]), np.array([4.0]), 1.0, 0.0, 1, True)
    assert head.logits(np.array([[18.0]], np.float32)).tolist() == [[5.0]]

"""Logistic regression: the optimum is scikit-learn's, for every strength and any size of blocks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logsumexp
from sklearn.linear_model import LogisticRegression

from bob_gauntlet.engine.frozen import logistic, newton
from bob_gauntlet.engine.frozen.logistic import Head, regularisation_path
from bob_gauntlet.protocols.linear_probe import LinearProbe
from tests.helpers.synthetic_features import overlapping_classes

PATH = LinearProbe().strengths


def objective(x: np.ndarray, targets: np.ndarray, weight: np.ndarray, bias: np.ndarray, strength: float) -> float:
    """Return the objective at standardised float64 features, by its formula alone."""
    logits = x @ weight + bias
    signed = np.where(targets > 0, -logits, logits) if targets.ndim == 2 else None
    losses = logsumexp(logits, axis=1) - logits[np.arange(len(x)), targets] if signed is None else softplus(signed)
    return float(losses.mean() + strength / 2 * (weight**2).sum())


def softplus(x: np.ndarray) -> np.ndarray:
    """Return the sum over the columns of log(1 + exp(x))."""
    return np.asarray(np.logaddexp(0, x).sum(axis=1))


def gradient(x: np.ndarray, targets: np.ndarray, head: Head) -> np.ndarray:
    """Return the gradient (D + 1, C) of the objective at a head, by its formula alone."""
    logits = x @ head.weight + head.bias
    if targets.ndim == 2:
        residual = expit(logits) - targets
    else:
        residual = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
        residual[np.arange(len(x)), targets] -= 1
    return np.vstack([x.T @ residual / len(x) + head.strength * head.weight, residual.mean(axis=0)])


def independent_objective(x: np.ndarray, targets: np.ndarray, strength: float, solver: str) -> float:
    """Return the minimum that one of scikit-learn's solvers finds in float64; labels are solved one by one."""
    options = {"C": 1 / (len(x) * strength), "tol": 1e-11, "max_iter": 50_000, "solver": solver}
    if targets.ndim == 1:
        model = LogisticRegression(**options).fit(x, targets)
        return objective(x, targets, model.coef_.T, model.intercept_, strength)
    models = [LogisticRegression(**options).fit(x, labels) for labels in targets.T]
    weight = np.stack([model.coef_[0] for model in models], axis=1)
    bias = np.array([model.intercept_[0] for model in models])
    return objective(x, targets, weight, bias, strength)


def several_labels(targets: np.ndarray) -> np.ndarray:
    """Return (N, 3) labels {0, 1} of classes 0 to 3."""
    return np.stack([targets < 2, targets % 2 == 0, targets == 1], axis=1).astype(np.int64)


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge", "ignore:Line Search failed", "ignore:The line search")
@pytest.mark.parametrize("labels", [False, True], ids=["classes", "labels"])
@pytest.mark.parametrize(("count", "width"), [(240, 12), (60, 90)], ids=["N > D", "N < D"])
def test_the_objective_of_every_strength_is_that_of_independent_solvers(count: int, width: int, labels: bool) -> None:
    """Over the whole path of the protocol the objective agrees to 1e-6 with two solvers of scikit-learn.

    The better one of the two counts: lbfgs does not always get that far at weak strengths.
    """
    features, classes = overlapping_classes(count, width, 4)
    targets = several_labels(classes) if labels else classes
    x = (features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)) / features.std(axis=0, dtype=np.float64)
    for head in regularisation_path(features, targets, 3 if labels else 4, PATH):
        minima = [independent_objective(x, targets, head.strength, s) for s in ("newton-cholesky", "lbfgs")]
        assert head.converged
        assert head.objective == pytest.approx(min(minima), rel=1e-6), head.strength
        assert head.objective == pytest.approx(objective(x, targets, head.weight, head.bias, head.strength), rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(10, 60), st.integers(1, 70), st.integers(0, 99), st.sampled_from(PATH))
def test_the_gradient_vanishes_at_the_answer(classes: int, count: int, width: int, seed: int, strength: float) -> None:
    """The gap that the gradient allows, computed without the solver's code, is below 1e-6 of the objective."""
    features, targets = overlapping_classes(max(count, 2 * classes), width, classes, seed)
    [head] = regularisation_path(features, targets, classes, [strength])
    x = (features.astype(np.float64) - head.mean) / head.scale
    slope = gradient(x, targets, head)
    assert head.converged
    assert (slope[:-1] ** 2).sum() / (2 * strength) < 1e-6 * head.objective
    assert np.linalg.norm(slope) == pytest.approx(head.gradient_norm, abs=1e-6)
    assert abs(head.bias.sum()) < 1e-9


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("labels", [False, True], ids=["classes", "labels"])
def test_the_gap_is_a_bound(tolerance: float, labels: bool) -> None:
    """Solved loosely, no objective exceeds the minimum by more than its gap, and the gap is within the tolerance."""
    features, classes = overlapping_classes(150, 20, 4)
    targets = several_labels(classes) if labels else classes
    count = 3 if labels else 4
    exact = regularisation_path(features, targets, count, PATH[::3], tolerance=1e-13)
    minima = {head.strength: head.objective for head in exact}
    for head in regularisation_path(features, targets, count, PATH[::3], tolerance=tolerance):
        assert -1e-13 < head.objective - minima[head.strength] <= head.gap + 1e-13
        assert head.gap <= tolerance * head.objective


def test_a_solver_that_is_stopped_has_not_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    """With too few passes `converged` is false, and the gap says how far the objective may be from its minimum."""
    features, targets = overlapping_classes(150, 20, 4)
    minimum = next(regularisation_path(features, targets, 4, [1e-4])).objective
    monkeypatch.setattr(newton, "_MAX_PASSES", 4)
    [head] = regularisation_path(features, targets, 4, [1e-4])
    assert not head.converged
    assert head.objective > minimum * (1 + 1e-6)
    assert head.objective - minimum <= head.gap


def test_a_warm_start_changes_nothing_but_the_work() -> None:
    """The path ends at the solution of a cold start, and a warm start needs fewer passes."""
    features, targets = overlapping_classes(200, 20, 4)
    warm = list(regularisation_path(features, targets, 4, [1.0, 1e-1, 1e-2, 1e-3], tolerance=1e-11))[-1]
    [cold] = regularisation_path(features, targets, 4, [1e-3], tolerance=1e-11)
    assert warm.objective == pytest.approx(cold.objective, rel=1e-9)
    np.testing.assert_allclose(warm.logits(features), cold.logits(features), atol=1e-4)
    [again] = regularisation_path(features, targets, 4, [1e-3], tolerance=1e-11, start=warm)
    assert (again.evaluations, again.products) == (1, 0)


@pytest.mark.parametrize("labels", [False, True], ids=["classes", "labels"])
def test_blocks_do_not_change_the_answer(labels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The solution with blocks of 256 rows is that with one block."""
    features, classes = overlapping_classes(700, 10, 4)
    targets = several_labels(classes) if labels else classes
    [whole] = regularisation_path(features, targets, 4 - labels, [1e-3])
    monkeypatch.setattr(newton, "_LOGITS_IN_BLOCK", 1)
    monkeypatch.setattr(logistic, "_ROWS", 100)
    [blocks] = regularisation_path(features, targets, 4 - labels, [1e-3])
    np.testing.assert_allclose(blocks.logits(features), whole.logits(features), atol=1e-5)


def test_another_number_of_threads_gives_the_same_scores() -> None:
    """With 1, 2 and 3 threads all predictions on the path are equal, and logits differ by less than float32 rounds."""
    features, targets = overlapping_classes(500, 96, 12)
    before, logits = torch.get_num_threads(), {}
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            heads = list(regularisation_path(features[:400], targets[:400], 12, PATH[::4]))
            logits[threads] = np.stack([head.logits(features) for head in heads])
    finally:
        torch.set_num_threads(before)
    for threads in (2, 3):
        np.testing.assert_array_equal(logits[threads].argmax(axis=2), logits[1].argmax(axis=2))
        np.testing.assert_allclose(logits[threads], logits[1], atol=1e-6)


def test_multi_label_is_one_against_the_rest_each() -> None:
    """The head of each label is the binary logistic regression of that label alone."""
    features, targets = overlapping_classes(300, 8, 4)
    labels = several_labels(targets)
    [head] = regularisation_path(features, labels, 3, [1e-2])
    x = (features - features.mean(axis=0)) / features.std(axis=0)
    for label in range(3):
        # the loss is a sum over labels and a mean over images, so the strength is that of each
        model = LogisticRegression(C=1 / (len(x) * 1e-2), tol=1e-10, max_iter=9999).fit(x, labels[:, label])
        np.testing.assert_allclose(head.logits(features)[:, label], model.decision_function(x), atol=1e-3)


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
    [without] = regularisation_path(features, targets, 2, [1e-2])
    wide = np.concatenate([features, np.full((100, 1), 3.0, np.float32)], axis=1)
    [with_it] = regularisation_path(wide, targets, 2, [1e-2])
    np.testing.assert_allclose(with_it.logits(wide), without.logits(features), atol=1e-5)


def test_it_is_deterministic() -> None:
    """Two runs give the same bits, with the same number of threads."""
    features, targets = overlapping_classes(200, 30, 3)
    first, second = (list(regularisation_path(features, targets, 3, [1e-1, 1e-3])) for _ in range(2))
    assert all((a.weight == b.weight).all() for a, b in zip(first, second, strict=True))


def test_scores_are_of_raw_features() -> None:
    """A head takes features that are not standardised."""
    head = Head(
        np.array([[2.0]]), np.array([1.0]), np.array([10.0]), np.array([4.0]), strength=1.0, objective=0.0, gap=0.0,
        gradient_norm=0.0, evaluations=1, products=0, converged=True,
    )  # fmt: skip
    assert head.logits(np.array([[18.0]], np.float32)).tolist() == [[5.0]]

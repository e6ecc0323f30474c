"""Calibration metrics against torchmetrics, scikit-learn and worked examples."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from bob_gauntlet.metrics import calibration

classes = st.integers(2, 6)


def made(seed: int, examples: int = 200, count: int = 5, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose most likely class is right about half of the time."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, count, examples)
    logits = scale * rng.normal(size=(examples, count))
    logits[np.arange(examples), targets] += scale
    return logits, targets


@given(st.integers(0, 10_000), st.integers(1, 60), classes, st.floats(0.1, 8))
def test_ece_is_torchmetrics(seed: int, examples: int, count: int, scale: float) -> None:
    """multiclass_calibration_error with 15 bins and norm l1, of probabilities in float64.

    It gives a confidence that is 1 in float32 a bin of its own; such examples are left to another test.
    """
    logits, targets = made(seed, examples, count, scale)
    probabilities = torch.from_numpy(np.exp(calibration.log_softmax(logits)))
    assume(float(probabilities.max()) < 1 - 1e-6)
    theirs = multiclass_calibration_error(probabilities, torch.from_numpy(targets), count, n_bins=15, norm="l1")
    assert calibration.reliability_curve(logits, targets).ece == pytest.approx(float(theirs), abs=1e-6)


@given(st.integers(0, 10_000), classes)
def test_cross_entropy_is_scikit_learns(seed: int, count: int) -> None:
    """log_loss, in nats."""
    logits, targets = made(seed, 30, count)
    theirs = log_loss(targets, np.exp(calibration.log_softmax(logits)), labels=range(count))
    assert calibration.cross_entropies(logits, targets).mean() == pytest.approx(theirs)


def test_ece_worked_by_hand() -> None:
    """Confidences .9, .9, .6, of which the second is wrong: (2 * |.9 - .5| + |.6 - 1|) / 3 = .4."""
    logits = np.log([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    found = calibration.reliability_curve(logits, np.array([0, 1, 0]))
    assert found.ece == pytest.approx(0.4)
    assert found.count.sum() == 3
    assert found.accuracy[found.count == 2].tolist() == [0.5]


def test_certain_examples_are_in_the_last_bin() -> None:
    """Confidences 1 and .95 of which one is right: one bin, |.975 - .5|."""
    logits = np.array([[1000.0, 0.0], [np.log(0.95), np.log(0.05)]])
    assert calibration.reliability_curve(logits, np.array([0, 1])).ece == pytest.approx(0.475)


def test_a_bin_holds_its_right_edge() -> None:
    """A confidence of one half, two bins: (0, .5] and (.5, 1] (Guo et al., section 2)."""
    found = calibration.reliability_curve(np.zeros((3, 2)), np.array([0, 1, 0]), bins=2)
    assert found.count.tolist() == [3.0, 0.0]


def test_adaptive_bins_hold_equal_counts() -> None:
    """150 different confidences in 15 bins of ten; the error is the mean gap of the sorted tens."""
    logits, targets = made(3, 150)
    found = calibration.reliability_curve(logits, targets, adaptive=True)
    assert found.count.tolist() == [10.0] * 15
    probabilities = np.exp(calibration.log_softmax(logits))
    order = np.argsort(probabilities.max(axis=1))
    right = (probabilities.argmax(axis=1) == targets)[order].reshape(15, 10)
    confidence = probabilities.max(axis=1)[order].reshape(15, 10)
    assert found.ece == pytest.approx(np.abs(right.mean(axis=1) - confidence.mean(axis=1)).mean())


def test_equal_confidences_share_a_bin() -> None:
    """However many there are, and in whatever order they stand."""
    logits = np.tile([[2.0, 0.0]], (40, 1))
    targets = np.arange(40) % 2
    found = calibration.reliability_curve(logits, targets, adaptive=True)
    assert (found.count > 0).sum() == 1
    assert found.ece == calibration.reliability_curve(logits[::-1], targets[::-1], adaptive=True).ece


@pytest.mark.parametrize("factor", [0.2, 1.0, 7.0])
def test_a_temperature_undoes_a_scale(factor: float) -> None:
    """Labels drawn from softmax(logits); logits times a factor need that temperature, up to sampling (n = 20,000)."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(20_000, 4))
    probabilities = np.exp(calibration.log_softmax(logits))
    targets = (probabilities.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    found = calibration.fit_temperature(factor * logits, targets)
    assert found == pytest.approx(factor, rel=0.03)
    scaled = calibration.cross_entropies(factor * logits / found, targets).mean()
    assert scaled <= calibration.cross_entropies(factor * logits, targets).mean() + 1e-9


def test_large_logits_do_not_overflow() -> None:
    """A confident mistake costs its margin."""
    assert calibration.cross_entropies(np.array([[1e4, 0.0]]), np.array([1])).tolist() == [1e4]


def test_resampled_errors_spread_with_the_clusters() -> None:
    """Forty examples of four photos say less than forty of forty: their draws spread more, and repeat."""
    logits, targets = made(5, 40)
    logits[:, 0] += 3.0 * (np.arange(40) // 10 % 2)
    alone = calibration.resampled_ece(logits, targets, [str(i) for i in range(40)])
    photos = calibration.resampled_ece(logits, targets, [str(i // 10) for i in range(40)])
    assert len(alone) == calibration.BOOTSTRAP_DRAWS
    assert photos.std() > alone.std() > 0
    np.testing.assert_array_equal(alone, calibration.resampled_ece(logits, targets, [str(i) for i in range(40)]))

"""Calibration metrics against torchmetrics, scikit-learn and examples worked by hand."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from bob_gauntlet.metrics import calibration

classes = st.integers(2, 6)


def random_logits(seed: int, examples: int = 200, count: int = 5, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits whose most likely class is right about half of the time, and targets."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, count, examples)
    logits = scale * rng.normal(size=(examples, count))
    logits[np.arange(examples), targets] += scale
    return logits, targets


@given(st.integers(0, 10_000), st.integers(1, 60), classes, st.floats(0.1, 8))
def test_ece_is_torchmetrics(seed: int, examples: int, count: int, scale: float) -> None:
    """The error is that of multiclass_calibration_error with 15 bins and norm l1, of probabilities in float64.

    torchmetrics puts a confidence that is 1 in float32 into an extra bin; another test covers such examples.
    """
    logits, targets = random_logits(seed, examples, count, scale)
    probabilities = torch.from_numpy(np.exp(calibration.log_softmax(logits)))
    assume(float(probabilities.max()) < 1 - 1e-6)
    expected = multiclass_calibration_error(probabilities, torch.from_numpy(targets), count, n_bins=15, norm="l1")
    assert calibration.reliability_curve(logits, targets).ece == pytest.approx(float(expected), abs=1e-6)


@given(st.integers(0, 10_000), classes)
def test_cross_entropy_is_scikit_learns(seed: int, count: int) -> None:
    """The mean is scikit-learn's log_loss, in nats."""
    logits, targets = random_logits(seed, 30, count)
    expected = log_loss(targets, np.exp(calibration.log_softmax(logits)), labels=range(count))
    assert calibration.cross_entropies(logits, targets).mean() == pytest.approx(expected)


def test_ece_worked_by_hand() -> None:
    """Confidences of .9, .9 and .6, the second of them wrong, give (2 * |.9 - .5| + |.6 - 1|) / 3 = .4."""
    logits = np.log([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    curve = calibration.reliability_curve(logits, np.array([0, 1, 0]))
    assert curve.ece == pytest.approx(0.4)
    assert curve.count.sum() == 3
    assert curve.accuracy[curve.count == 2].tolist() == [0.5]


def test_certain_examples_are_in_the_last_bin() -> None:
    """Confidences of 1 and .95, one of them right, share a bin: the error is |.975 - .5|."""
    logits = np.array([[1000.0, 0.0], [np.log(0.95), np.log(0.05)]])
    assert calibration.reliability_curve(logits, np.array([0, 1])).ece == pytest.approx(0.475)


def test_a_bin_holds_its_right_edge() -> None:
    """A confidence of one half is in the first of two bins, (0, .5] and (.5, 1] (Guo et al., section 2)."""
    curve = calibration.reliability_curve(np.zeros((3, 2)), np.array([0, 1, 0]), bins=2)
    assert curve.count.tolist() == [3.0, 0.0]


def test_adaptive_bins_hold_equal_counts() -> None:
    """150 different confidences are in 15 bins of ten; the error is the mean gap of the sorted tens."""
    logits, targets = random_logits(3, 150)
    curve = calibration.reliability_curve(logits, targets, adaptive=True)
    assert curve.count.tolist() == [10.0] * 15
    probabilities = np.exp(calibration.log_softmax(logits))
    order = np.argsort(probabilities.max(axis=1))
    right = (probabilities.argmax(axis=1) == targets)[order].reshape(15, 10)
    confidence = probabilities.max(axis=1)[order].reshape(15, 10)
    assert curve.ece == pytest.approx(np.abs(right.mean(axis=1) - confidence.mean(axis=1)).mean())


def test_equal_confidences_share_a_bin() -> None:
    """All equal confidences are in one bin, however many there are and in whatever order."""
    logits = np.tile([[2.0, 0.0]], (40, 1))
    targets = np.arange(40) % 2
    curve = calibration.reliability_curve(logits, targets, adaptive=True)
    assert (curve.count > 0).sum() == 1
    assert curve.ece == calibration.reliability_curve(logits[::-1], targets[::-1], adaptive=True).ece


@pytest.mark.parametrize("factor", [0.2, 1.0, 7.0])
def test_a_temperature_undoes_a_scale(factor: float) -> None:
    """If labels are drawn from softmax(logits), logits times a factor need it as temperature, up to sampling error."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(20_000, 4))
    probabilities = np.exp(calibration.log_softmax(logits))
    targets = (probabilities.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    temperature = calibration.fit_temperature(factor * logits, targets)
    assert temperature == pytest.approx(factor, rel=0.03)
    scaled = calibration.cross_entropies(factor * logits / temperature, targets).mean()
    assert scaled <= calibration.cross_entropies(factor * logits, targets).mean() + 1e-9


def test_large_logits_do_not_overflow() -> None:
    """The cross-entropy of a confident mistake is its margin."""
    assert calibration.cross_entropies(np.array([[1e4, 0.0]]), np.array([1])).tolist() == [1e4]


def test_resampled_errors_spread_with_the_clusters() -> None:
    """Draws spread more if forty examples are of four photos than of forty, and repeated calls give the same draws."""
    logits, targets = random_logits(5, 40)
    logits[:, 0] += 3.0 * (np.arange(40) // 10 % 2)
    alone = calibration.resampled_ece(logits, targets, [str(i) for i in range(40)])
    photos = calibration.resampled_ece(logits, targets, [str(i // 10) for i in range(40)])
    assert len(alone) == calibration.BOOTSTRAP_DRAWS
    assert photos.std() > alone.std() > 0
    np.testing.assert_array_equal(alone, calibration.resampled_ece(logits, targets, [str(i) for i in range(40)]))

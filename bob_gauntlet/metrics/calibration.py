"""Calibration: are predictions with a confidence of 80% right in 80% of the cases? Logits in, numbers out.

Logits that are NaN or infinite give no confidence. Their cross-entropy is infinite. Calibration errors and temperatures
of them are not defined, so that these functions raise NotFiniteError.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from bob_gauntlet.metrics.finite import finite_rows, require_finite

BINS = 15
"""Bins of the expected calibration error. The paper states no number; 15 is usual (Guo et al., ICML 2017)."""


BOOTSTRAP_DRAWS = 200
"""Bootstrap draws that give the standard error of the expected calibration error."""


@dataclass(frozen=True)
class ReliabilityCurve:
    """Mean confidence, accuracy and number of examples in each bin of confidences: (BINS,) each."""

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: mean |confidence - accuracy| over the examples, in 0..1."""
        return float(np.sum(self.count * np.abs(self.confidence - self.accuracy)) / self.count.sum())


def log_softmax(logits: np.ndarray, dtype: DTypeLike = np.float64) -> np.ndarray:
    """Return the (N, C) log probabilities of (N, C) logits, without overflow, in float64 or another precision.

    A row with NaN or infinity among its logits has no probabilities: it is NaN.
    """
    with np.errstate(invalid="ignore"):
        shifted = np.asarray(logits, dtype) - logits.max(axis=1, keepdims=True)
    log_probabilities = np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
    log_probabilities[~finite_rows(logits)] = np.nan
    return log_probabilities


def cross_entropies(logits: np.ndarray, targets: np.ndarray, dtype: DTypeLike = np.float64) -> np.ndarray:
    """Return the (N,) negative log likelihoods, in nats, of (N,) true classes under (N, C) logits.

    An example with NaN or infinity among its logits has an infinite one.

    >>> cross_entropies(np.zeros((1, 4)), np.array([2])).round(4).tolist()
    [1.3863]
    """
    losses = -np.take_along_axis(log_softmax(logits, dtype), targets[:, None], axis=1)[:, 0]
    return np.where(finite_rows(logits), losses, losses.dtype.type(np.inf))


def reliability_curve(
    logits: np.ndarray, targets: np.ndarray, bins: int = BINS, *, adaptive: bool = False
) -> ReliabilityCurve:
    """Sort the top-1 confidences into bins of equal width over 0..1, or (`adaptive`) of equal count.

    A bin contains its right edge and not its left one, as in Guo et al., so that a confidence of 1 is in the last bin.
    Adaptive bins never separate equal confidences: all of them are in the bin of the first one. Raises NotFiniteError
    where a logit is NaN or infinite.

    >>> reliability_curve(np.log([[0.8, 0.2], [0.6, 0.4]]), np.array([0, 1])).ece.__round__(3)
    0.4
    """
    require_finite(logits, "logits")
    probabilities = np.exp(log_softmax(logits))
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    if adaptive:
        ordered = np.sort(confidence)
        starts = ordered[np.arange(bins) * len(ordered) // bins]
        place = np.searchsorted(starts, confidence, side="right") - 1
    else:
        place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins).astype(np.float64)
    filled = np.maximum(count, 1)
    return ReliabilityCurve(
        np.bincount(place, weights=confidence, minlength=bins) / filled,
        np.bincount(place, weights=right.astype(np.float64), minlength=bins) / filled,
        count,
    )


def resampled_ece(
    logits: np.ndarray, targets: np.ndarray, clusters: Sequence[str], bins: int = BINS, *, adaptive: bool = False
) -> np.ndarray:
    """Return the calibration errors of (BOOTSTRAP_DRAWS,) test sets that are drawn with replacement, with seed 0.

    Whole clusters are drawn: examples that share a name in `clusters` stay together. Raises NotFiniteError where a
    logit is NaN or infinite.
    """
    require_finite(logits, "logits")
    rng = np.random.default_rng(0)
    groups = np.unique(np.asarray(clusters), return_inverse=True)[1]
    members = [np.flatnonzero(groups == group) for group in range(int(groups.max()) + 1)]
    errors = []
    for _ in range(BOOTSTRAP_DRAWS):
        drawn = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        errors.append(reliability_curve(logits[drawn], targets[drawn], bins, adaptive=adaptive).ece)
    return np.array(errors)


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the temperature, from 1/100 to 100, that minimises the cross-entropy (Guo et al., ICML 2017).

    Logits are divided by it. The cross-entropy is convex in 1 / temperature, so that there is one minimum. Raises
    NotFiniteError where a logit is NaN or infinite.
    """
    from scipy.optimize import minimize_scalar

    require_finite(logits, "logits")
    minimum = minimize_scalar(
        lambda log: cross_entropies(logits * np.exp(-log), targets).mean(),
        bounds=(-np.log(100), np.log(100)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(minimum.x))

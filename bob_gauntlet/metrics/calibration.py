"""Calibration: does a confidence of 80% come true in 80% of the cases? Logits in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 15
"""Of the expected calibration error; the paper states no number, 15 is the field's (Guo et al., ICML 2017)."""


DRAWS = 200
"""Of the bootstrap that gives its standard error."""


@dataclass(frozen=True)
class ReliabilityCurve:
    """A reliability curve: per bin the mean confidence, the share that was right, and how many fell in (BINS,)."""

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: mean |confidence - accuracy| over the examples, in 0..1."""
        return float(np.sum(self.count * np.abs(self.confidence - self.accuracy)) / self.count.sum())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(N, C) logits to log probabilities, in float64 and without overflow."""
    shifted = np.asarray(logits, np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def cross_entropies(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(N, C) logits and (N,) classes to (N,) negative log likelihoods in nats.

    >>> cross_entropies(np.zeros((1, 4)), np.array([2])).round(4).tolist()
    [1.3863]
    """
    return -np.take_along_axis(log_softmax(logits), targets[:, None], axis=1)[:, 0]


def reliability_curve(
    logits: np.ndarray, targets: np.ndarray, bins: int = BINS, *, adaptive: bool = False
) -> ReliabilityCurve:
    """Top-1 confidences in bins of equal width over 0..1, or (`adaptive`) of equal count.

    A bin holds its right edge and not its left one, as in Guo et al., so that a confidence of 1 is in the last bin.
    Equal confidences are never dealt to two adaptive bins by chance: the bin of the first of them takes all.

    >>> reliability_curve(np.log([[0.8, 0.2], [0.6, 0.4]]), np.array([0, 1])).ece.__round__(3)
    0.4
    """
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
    """(DRAWS,) calibration errors of test sets drawn with replacement, whole clusters at a time; seed 0."""
    rng = np.random.default_rng(0)
    groups = np.unique(np.asarray(clusters), return_inverse=True)[1]
    members = [np.flatnonzero(groups == group) for group in range(int(groups.max()) + 1)]
    found = []
    for _ in range(DRAWS):
        drawn = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        found.append(reliability_curve(logits[drawn], targets[drawn], bins, adaptive=adaptive).ece)
    return np.array(found)


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """What logits are divided by so that their cross-entropy is least (Guo et al., ICML 2017), within 1/100 to 100.

    The cross-entropy is convex in 1 / temperature, so there is one answer.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: cross_entropies(logits * np.exp(-log), targets).mean(),
        bounds=(-np.log(100), np.log(100)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))

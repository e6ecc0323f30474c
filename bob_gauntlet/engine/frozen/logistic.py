"""L2-regularised logistic regression solved to convergence, along a path of strengths.

For features X (N, D), a weight matrix W (D, C) and biases b (C,), the objective is

    f(W, b) = mean_i loss(x_i W + b, y_i) + strength / 2 * ||W||^2

with softmax cross-entropy for classes (N,), or the sum of C logistic losses for multi-label targets (N, C). With
C = 1 / (N * strength), scikit-learn's objective is N * C times this one. Biases are not penalised; those of a softmax
have the mean 0, since a constant that is added to all of them changes nothing. So there is one solution, and no
learning rate or seed is needed. A head has converged when its objective exceeds the minimum by at most `tolerance`,
relative to the minimum, by a bound that is computed in float64 (`newton.py`). The largest strengths are solved first,
and each solution is the starting point for the next strength.

Features with N < D are rotated into the N dimensions that they span, which changes neither the loss nor the penalty.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bob_gauntlet.engine.frozen.newton import LogisticRegression, Solution

# rows of features that are converted at once
_ROWS = 65536
# the largest share by which the objective may exceed its minimum
TOLERANCE = 1e-7


@dataclass(frozen=True)
class Head:
    """A linear head on standardised features, and how well it was solved."""

    # (D, C)
    weight: np.ndarray
    # (C,)
    bias: np.ndarray
    # (D,) the mean and the scale with which features are standardised: (features - mean) / scale
    mean: np.ndarray
    scale: np.ndarray
    # L2 strength
    strength: float
    # the objective, and a bound of how much it exceeds the minimum
    objective: float
    gap: float
    # the Euclidean norm of the gradient of the objective
    gradient_norm: float
    # passes over the features: in float64 for the gradient, in float32 for a product with the Hessian
    evaluations: int
    products: int
    converged: bool

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return the (N, C) float64 logits of (N, D) features, which need not be standardised."""
        weight = torch.from_numpy(self.weight / self.scale[:, None])
        bias = torch.from_numpy(self.bias - self.mean @ weight.numpy())
        blocks = (torch.from_numpy(features[start : start + _ROWS]) for start in range(0, len(features), _ROWS))
        return torch.cat([torch.addmm(bias, block.double(), weight) for block in blocks]).numpy()


def standardisation(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and standard deviation of each feature, (D,) float64; a constant feature's deviation is 1."""
    mean = features.mean(axis=0, dtype=np.float64)
    scale = np.zeros_like(mean)
    for start in range(0, len(features), _ROWS):
        scale += np.square(features[start : start + _ROWS] - mean).sum(axis=0)
    scale = np.sqrt(scale / len(features))
    return mean, np.where(scale > 1e-7 * np.abs(mean) + 1e-12, scale, 1.0)


def regularisation_path(
    features: np.ndarray,
    targets: np.ndarray,
    classes: int,
    strengths: Sequence[float],
    *,
    device: str = "cpu",
    tolerance: float = TOLERANCE,
    start: Head | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Iterator[Head]:
    """Yield a Head for each strength, the largest strength first.

    `features` are (N, D) float32, `targets` (N,) class indices or (N, C) {0, 1}. The solver begins from the head
    `start`, or from zeros.
    """
    mean, scale = standardisation(features)
    standardised, axes = _standardise(features, mean, scale)
    problem = LogisticRegression(standardised, targets, classes, device)
    point = torch.zeros(problem.width + 1, classes, dtype=torch.float64, device=device)
    if start is not None:
        weight = torch.from_numpy(start.weight)
        point[:-1], point[-1] = weight if axes is None else axes.T @ weight, torch.from_numpy(start.bias)
    solved: deque[tuple[float, torch.Tensor]] = deque(maxlen=4)
    for strength in sorted(strengths, reverse=True):
        solution = problem.minimise(_extrapolate(solved, strength) if solved else point, strength, tolerance)
        if not solved or solved[-1][0] != strength:
            solved.append((strength, solution.point.parameters))
        advance(1)
        yield _head(solution, axes, mean, scale, strength, centred=targets.ndim == 1)


def _extrapolate(solved: Sequence[tuple[float, torch.Tensor]], strength: float) -> torch.Tensor:
    """Return a guess for a strength from the solutions of other ones: a polynomial in the logarithm of the strength.

    It is the last solution where the strengths are so unevenly spaced that a polynomial could be far off.
    """
    logs = [math.log(of_solution / strength) for of_solution, _ in solved]
    weights = [math.prod(other / (other - log) for other in logs if other != log) for log in logs]
    # equal ratios between four strengths give the weights 4, -6, 4 and -1
    if sum(map(abs, weights)) > 16:
        return solved[-1][1]
    return sum((weight * point for weight, (_, point) in zip(weights, solved, strict=True)), start=torch.zeros(()))


def _head(
    solution: Solution, axes: torch.Tensor | None, mean: np.ndarray, scale: np.ndarray, strength: float, centred: bool
) -> Head:
    """Return the head of a solution, rotated back; the mean of its biases is 0 if `centred`."""
    point = solution.point
    parameters = point.parameters.cpu()
    weight, bias = parameters[:-1], parameters[-1]
    return Head(
        weight=(weight if axes is None else axes @ weight).numpy(),
        bias=(bias - bias.mean() if centred else bias).numpy(),
        mean=mean,
        scale=scale,
        strength=strength,
        objective=point.value,
        gap=point.gap,
        gradient_norm=float(point.gradient.norm()),
        evaluations=solution.evaluations,
        products=solution.products,
        converged=solution.converged,
    )


def _standardise(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the standardised features, and None or the axes (D, N) along which they are given.

    They are (N, D) float32, or where N < D their (N, N) float64 coordinates along orthonormal axes that span them.
    """
    count, width = features.shape
    if count < width:
        axes, coordinates = torch.linalg.qr(torch.from_numpy(((features - mean) / scale).T))
        return coordinates.T.contiguous(), axes
    standardised = torch.empty(count, width)
    for start in range(0, count, _ROWS):
        rows = slice(start, start + _ROWS)
        standardised[rows] = torch.from_numpy((features[rows] - mean) / scale)
    return standardised, None

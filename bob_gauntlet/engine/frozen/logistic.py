"""L2-regularised logistic regression solved to convergence by L-BFGS, along a path of strengths.

For features X (N, D), a weight matrix W (D, C) and biases b (C,), the objective is

    f(W, b) = mean_i loss(x_i W + b, y_i) + strength / 2 * ||W||^2

with softmax cross-entropy for classes (N,), or the sum of C logistic losses for multi-label targets (N, C). It is
scikit-learn's with C = 1 / (N * strength), divided by N * C; biases are free. Strictly convex, so there is one answer,
no learning rate and no seed. Strong strengths are solved first, and each starts from its neighbour's solution.

Two things make it fast and leave the answer as it is. Features are rotated to their principal axes, which L2 does not
see; axes without variance are dropped, so that N < D costs N. There the Hessian is nearly diagonal, about
p (1 - p) * variance + strength for a class of mean probability p, and L-BFGS works on weights scaled by its root.

Gradient and loss are summed over blocks of rows: beside one float32 copy of X there is a block of logits in memory.
SciPy's and NumPy's own BLAS gets one thread meanwhile: theirs and torch's, spinning against each other, take four times
as long.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController

_ROWS = 65536
_LOGITS_IN_BLOCK = 4_000_000
_MEMORY = 10
_NO_VARIANCE = 1e-10


@dataclass(frozen=True)
class Head:
    """A linear head on standardised features, and how well it was solved."""

    # (D, C), (C,); what was taken from features (D,), and what they were divided by (D,)
    weight: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    strength: float
    objective: float
    evaluations: int
    converged: bool

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(N, D) features to (N, C) logits."""
        weight = self.weight / self.scale[:, None]
        return np.asarray(features @ weight.astype(np.float32) + (self.bias - self.mean @ weight).astype(np.float32))


def standardisation(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature, (D,) float64; 1 for the deviation of a constant one."""
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
    tolerance: float = 1e-6,
    start: Head | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Iterator[Head]:
    """A Head for each strength, strongest first.

    `features` (N, D) float32, `targets` (N,) class indices or (N, C) {0, 1}. `tolerance` is the relative fall of the
    objective in one step under which L-BFGS stops. `start` is a head to begin from, else zeros.
    """
    mean, scale = standardisation(features)
    axes, variance = _principal_axes(features, mean, scale)
    problem = _Problem(_rotated(features, mean, scale, axes, device), targets, variance, classes, device)
    weight, bias = np.zeros((len(variance), classes)), np.zeros(classes)
    if start is not None:
        weight, bias = axes.T @ start.weight, start.bias
    before = None
    for strength in sorted(strengths, reverse=True):
        # on a path of equal ratios, the last two solutions point at the next
        guess = (weight, bias) if before is None else (2 * weight - before[0], 2 * bias - before[1])
        before = None if start is None and not weight.any() else (weight, bias)
        weight, bias, solved = problem.solve(*guess, strength, tolerance)
        advance(1)
        yield Head(axes @ weight, bias, mean, scale, strength, solved.fun, solved.nfev, solved.status == 0)


class _Problem:
    """Loss and gradient over rotated features (N, R), block by block, in float32 with float64 sums."""

    def __init__(
        self, features: torch.Tensor, targets: np.ndarray, variance: np.ndarray, classes: int, device: str
    ) -> None:
        self.features = features
        self.targets = torch.from_numpy(targets).to(device)
        self.variance = variance
        self.classes = classes
        self.device = device
        self.rows = max(256, _LOGITS_IN_BLOCK // classes)

    def solve(
        self, weight: np.ndarray, bias: np.ndarray, strength: float, tolerance: float
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        """Weight (R, C), bias (C,) at the minimum, from a guess, and what SciPy says of it."""
        step = self._scaling(weight, bias, strength)
        guess = np.vstack([weight, bias])
        value, slope = self._value_and_gradient((guess / step).ravel(), step, strength)
        # SciPy's first step has length 1: in this unit that is the length of a Newton step
        unit = max(float(np.linalg.norm(slope)), 1e-12)
        step *= unit
        known = [(value, slope * unit)]

        def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
            return known.pop() if known else self._value_and_gradient(point, step, strength)

        with _libraries().limit(limits=1, user_api="blas"):
            solved = minimize(
                objective,
                (guess / step).ravel(),
                jac=True,
                method="L-BFGS-B",
                options={"maxcor": _MEMORY, "maxiter": 1000, "maxfun": 2000, "ftol": tolerance, "gtol": 1e-9},
            )
        point = solved.x.reshape(step.shape) * step
        return point[:-1], point[-1], solved

    def _scaling(self, weight: np.ndarray, bias: np.ndarray, strength: float) -> np.ndarray:
        """(R + 1, C): one over the root of the Hessian's diagonal, as far as variances and mean p (1 - p) tell."""
        curvature = torch.zeros(self.classes, dtype=torch.float64, device=self.device)
        for logits, _ in self._blocks(weight, bias):
            p = torch.sigmoid(logits) if self.targets.ndim == 2 else torch.softmax(logits, dim=1)
            curvature += (p * (1 - p)).sum(dim=0)
        mean = np.maximum(curvature.cpu().numpy() / len(self.features), 1e-8)
        return np.asarray(1 / np.sqrt(np.append(self.variance, 1.0)[:, None] * mean + strength))

    def _value_and_gradient(self, point: np.ndarray, step: np.ndarray, strength: float) -> tuple[float, np.ndarray]:
        """f and its gradient at scaled weights and biases."""
        count, width = self.features.shape
        parameters = point.reshape(step.shape) * step
        weight, bias = parameters[:-1], parameters[-1]
        loss = 0.0
        gradient = torch.zeros(width + 1, self.classes, dtype=torch.float64, device=self.device)
        for start, (logits, block) in enumerate(self._blocks(weight, bias)):
            residual, part = self._residual(logits, self.targets[start * self.rows : (start + 1) * self.rows])
            loss += part
            gradient[:-1] += block.T @ residual
            gradient[-1] += residual.sum(dim=0, dtype=torch.float64)
        found = gradient.cpu().numpy() / count
        found[:-1] += strength * weight
        return loss / count + 0.5 * strength * float(np.vdot(weight, weight)), (found * step).ravel()

    def _blocks(self, weight: np.ndarray, bias: np.ndarray) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(logits, features) of every block of rows."""
        w, b = (torch.from_numpy(a.astype(np.float32)).to(self.device) for a in (weight, bias))
        for start in range(0, len(self.features), self.rows):
            block = self.features[start : start + self.rows].to(self.device)
            yield torch.addmm(b, block, w), block

    def _residual(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, float]:
        """d loss / d logits of a block, and its summed loss; `logits` is overwritten."""
        if targets.ndim == 2:
            truth = targets.to(logits.dtype)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
            return torch.sigmoid(logits) - truth, float(loss.sum(dtype=torch.float64))
        rows = torch.arange(len(targets), device=logits.device)
        logits -= logits.amax(dim=1, keepdim=True)
        own = logits[rows, targets].double()
        residual = logits.exp_()
        total = residual.sum(dim=1, keepdim=True)
        residual /= total
        residual[rows, targets] -= 1
        return residual, float((total.double().log_().squeeze(1) - own).sum())


@cache
def _libraries() -> ThreadpoolController:
    """The BLAS libraries of this process, looked up once."""
    return ThreadpoolController()


def _principal_axes(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal axes (D, R) of the standardised features, and the variance along each; none without variance."""
    count, width = features.shape
    if count < width:
        rows = torch.from_numpy((features - mean) / scale)
        values, vectors = torch.linalg.eigh(rows @ rows.T / count)
        kept = values > _NO_VARIANCE * values[-1]
        axes = rows.T @ vectors[:, kept]
        return (axes / axes.norm(dim=0)).numpy(), values[kept].numpy()
    gram = torch.zeros(width, width, dtype=torch.float64)
    for start in range(0, count, _ROWS):
        rows = torch.from_numpy((features[start : start + _ROWS] - mean) / scale)
        gram += rows.T @ rows
    values, vectors = torch.linalg.eigh(gram / count)
    kept = values > _NO_VARIANCE * values[-1]
    return vectors[:, kept].numpy(), values[kept].numpy()


def _rotated(features: np.ndarray, mean: np.ndarray, scale: np.ndarray, axes: np.ndarray, device: str) -> torch.Tensor:
    """The only copy of the features: standardised, along the axes, float32; on the device where they fit there."""
    copy = torch.empty(len(features), axes.shape[1])
    turn = torch.from_numpy((axes / scale[:, None]).astype(np.float32))
    for start in range(0, len(features), _ROWS):
        copy[start : start + _ROWS] = (
            torch.from_numpy((features[start : start + _ROWS] - mean).astype(np.float32)) @ turn
        )
    if device != "cpu" and copy.nbytes < 0.6 * torch.cuda.mem_get_info(device)[0]:
        return copy.to(device)
    return copy

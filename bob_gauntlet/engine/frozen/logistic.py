"""L2-regularised logistic regression solved to convergence by L-BFGS, along a path of strengths.

For features X (N, D), a weight matrix W (D, C) and biases b (C,), the objective is

    f(W, b) = mean_i loss(x_i W + b, y_i) + strength / 2 * ||W||^2

with softmax cross-entropy for classes (N,), or the sum of C logistic losses for multi-label targets (N, C). With
C = 1 / (N * strength), scikit-learn's objective is N * C times this one. Biases are not penalised. The objective is
strictly convex, so there is one solution, and no learning rate or seed is needed. The largest strengths are solved
first, and each solution is the starting point for the next strength.

Two things make the solver fast without changing the solution. First, features are rotated to their principal axes,
which does not change the L2 penalty; axes without variance are dropped, so that with N < D at most N axes remain.
Second, on these axes the Hessian is nearly diagonal, about p (1 - p) * variance + strength for a class of mean
probability p, and L-BFGS works on weights that are scaled by the root of this diagonal.

Gradient and loss are summed over blocks of rows: one float32 copy of X and the logits of one block are in memory. The
BLAS of SciPy and NumPy is limited to one thread meanwhile: its threads and torch's would wait for each other in busy
loops, and the solver would take four times as long.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController

# rows of features that are converted at once
_ROWS = 65536
# logits that are in memory at once
_LOGITS_IN_BLOCK = 4_000_000
# previous steps that L-BFGS remembers
_MEMORY = 10
# an axis with a smaller share of the largest axis' variance has no variance
_NO_VARIANCE = 1e-10


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
    # the minimum of the objective, and how many evaluations it took
    objective: float
    evaluations: int
    converged: bool

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return the (N, C) logits of (N, D) features, which need not be standardised."""
        weight = self.weight / self.scale[:, None]
        return np.asarray(features @ weight.astype(np.float32) + (self.bias - self.mean @ weight).astype(np.float32))


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
    tolerance: float = 1e-6,
    start: Head | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Iterator[Head]:
    """Yield a Head for each strength, the largest strength first.

    `features` are (N, D) float32, `targets` (N,) class indices or (N, C) {0, 1}. L-BFGS stops when the objective
    falls by less than `tolerance`, relative to its value, in one step. It begins from the head `start`, or from zeros.
    """
    mean, scale = standardisation(features)
    axes, variance = _principal_axes(features, mean, scale)
    problem = _LogisticRegression(_rotate(features, mean, scale, axes, device), targets, variance, classes, device)
    weight, bias = np.zeros((len(variance), classes)), np.zeros(classes)
    if start is not None:
        weight, bias = axes.T @ start.weight, start.bias
    previous = None
    for strength in sorted(strengths, reverse=True):
        # where strengths have equal ratios, a line through the last two solutions comes close to the next one
        guess = (weight, bias) if previous is None else (2 * weight - previous[0], 2 * bias - previous[1])
        previous = None if start is None and not weight.any() else (weight, bias)
        weight, bias, solved = problem.solve(*guess, strength, tolerance)
        advance(1)
        yield Head(axes @ weight, bias, mean, scale, strength, solved.fun, solved.nfev, solved.status == 0)


class _LogisticRegression:
    """The objective and its gradient over rotated features (N, R), block by block, in float32 with float64 sums."""

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
        """Minimise the objective from a guess; return weight (R, C), bias (C,) and SciPy's result."""
        step = self._scaling(weight, bias, strength)
        guess = np.vstack([weight, bias])
        value, gradient = self._value_and_gradient((guess / step).ravel(), step, strength)
        # SciPy's first step has length 1: in this unit that is the length of a Newton step
        unit = max(float(np.linalg.norm(gradient)), 1e-12)
        step *= unit
        # SciPy asks for the value and gradient of the guess first, which are computed already
        computed = [(value, gradient * unit)]

        def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
            return computed.pop() if computed else self._value_and_gradient(point, step, strength)

        with _blas_libraries().limit(limits=1, user_api="blas"):
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
        """Return one over the root of the Hessian's diagonal, (R + 1, C), estimated by variances and mean p (1 - p)."""
        curvature = torch.zeros(self.classes, dtype=torch.float64, device=self.device)
        for logits, _ in self._blocks(weight, bias):
            p = torch.sigmoid(logits) if self.targets.ndim == 2 else torch.softmax(logits, dim=1)
            curvature += (p * (1 - p)).sum(dim=0)
        mean = np.maximum(curvature.cpu().numpy() / len(self.features), 1e-8)
        return np.asarray(1 / np.sqrt(np.append(self.variance, 1.0)[:, None] * mean + strength))

    def _value_and_gradient(self, point: np.ndarray, step: np.ndarray, strength: float) -> tuple[float, np.ndarray]:
        """Return the objective and its gradient at a flat array of scaled weights and biases."""
        count, width = self.features.shape
        parameters = point.reshape(step.shape) * step
        weight, bias = parameters[:-1], parameters[-1]
        loss = 0.0
        gradient = torch.zeros(width + 1, self.classes, dtype=torch.float64, device=self.device)
        for start, (logits, block) in enumerate(self._blocks(weight, bias)):
            residual, block_loss = self._residual(logits, self.targets[start * self.rows : (start + 1) * self.rows])
            loss += block_loss
            gradient[:-1] += block.T @ residual
            gradient[-1] += residual.sum(dim=0, dtype=torch.float64)
        mean_gradient = gradient.cpu().numpy() / count
        mean_gradient[:-1] += strength * weight
        return loss / count + 0.5 * strength * float(np.vdot(weight, weight)), (mean_gradient * step).ravel()

    def _blocks(self, weight: np.ndarray, bias: np.ndarray) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (logits, features) of every block of rows."""
        w, b = (torch.from_numpy(a.astype(np.float32)).to(self.device) for a in (weight, bias))
        for start in range(0, len(self.features), self.rows):
            block = self.features[start : start + self.rows].to(self.device)
            yield torch.addmm(b, block, w), block

    def _residual(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Return d loss / d logits of a block, and its summed loss; `logits` is overwritten."""
        if targets.ndim == 2:
            truth = targets.to(logits.dtype)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
            return torch.sigmoid(logits) - truth, float(loss.sum(dtype=torch.float64))
        rows = torch.arange(len(targets), device=logits.device)
        logits -= logits.amax(dim=1, keepdim=True)
        true_logits = logits[rows, targets].double()
        residual = logits.exp_()
        total = residual.sum(dim=1, keepdim=True)
        residual /= total
        residual[rows, targets] -= 1
        return residual, float((total.double().log_().squeeze(1) - true_logits).sum())


@cache
def _blas_libraries() -> ThreadpoolController:
    """Return a controller of this process's BLAS libraries, which are looked up once."""
    return ThreadpoolController()


def _principal_axes(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return orthonormal axes (D, R) of the standardised features and the variance (R,) along each.

    Axes without variance are left out.
    """
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


def _rotate(features: np.ndarray, mean: np.ndarray, scale: np.ndarray, axes: np.ndarray, device: str) -> torch.Tensor:
    """Return the standardised features along the axes, (N, R) float32, on the device if they fit into its memory."""
    rotated = torch.empty(len(features), axes.shape[1])
    rotation = torch.from_numpy((axes / scale[:, None]).astype(np.float32))
    for start in range(0, len(features), _ROWS):
        rotated[start : start + _ROWS] = (
            torch.from_numpy((features[start : start + _ROWS] - mean).astype(np.float32)) @ rotation
        )
    if device != "cpu" and rotated.nbytes < 0.6 * torch.cuda.mem_get_info(device)[0]:
        return rotated.to(device)
    return rotated

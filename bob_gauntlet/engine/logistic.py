"""L2-regularised logistic regression solved to convergence by L-BFGS, along a path of strengths.

For features X (N, D), a weight matrix W (D, C) and biases b (C,), the objective is

    f(W, b) = mean_i loss(x_i W + b, y_i) + strength / 2 * ||W||^2

with softmax cross-entropy for classes (N,), or the sum of C logistic losses for multi-label targets (N, C). It is
scikit-learn's with C = 1 / (N * strength), divided by N * C; biases are free. Strictly convex, so there is one answer,
no learning rate and no seed. Strong strengths are solved first, and each starts from its neighbour's solution.

Gradient and loss are summed over blocks of rows: memory beside X is a block of logits, whatever N and C are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize

_LOGITS_IN_BLOCK = 4_000_000
_MEMORY = 20


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

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(N, D) features to (N, C) logits."""
        weight = self.weight / self.scale[:, None]
        return np.asarray(features @ weight.astype(np.float32) + (self.bias - self.mean @ weight).astype(np.float32))


def standardisation(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature, (D,) float64; 1 for the deviation of a constant one."""
    mean = features.mean(axis=0, dtype=np.float64)
    scale = np.zeros_like(mean)
    for start in range(0, len(features), 65536):
        scale += np.square(features[start : start + 65536] - mean).sum(axis=0)
    scale = np.sqrt(scale / len(features))
    return mean, np.where(scale > 1e-7 * np.abs(mean) + 1e-12, scale, 1.0)


def path(
    features: np.ndarray,
    targets: np.ndarray,
    classes: int,
    strengths: Sequence[float],
    *,
    device: str = "cpu",
    tolerance: float = 1e-7,
    start: Head | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Iterator[Head]:
    """A Head for each strength, strongest first.

    `features` (N, D) float32, `targets` (N,) class indices or (N, C) {0, 1}. `tolerance` is the relative fall of the
    objective in one step under which L-BFGS stops. `start` is a head to begin from.
    """
    mean, scale = standardisation(features)
    problem = _Problem(_standardised(features, mean, scale, device), targets, classes, device)
    point = np.zeros((features.shape[1] + 1) * classes)
    if start is not None:
        point = np.concatenate([start.weight.ravel(), start.bias])
    for strength in sorted(strengths, reverse=True):
        solved = minimize(
            problem.value_and_gradient,
            point,
            args=(strength,),
            jac=True,
            method="L-BFGS-B",
            options={"maxcor": _MEMORY, "maxiter": 2000, "maxfun": 4000, "ftol": tolerance, "gtol": 1e-9},
        )
        point = solved.x
        advance(1)
        weight, bias = point[:-classes].reshape(-1, classes), point[-classes:]
        yield Head(weight, bias, mean, scale, strength, float(solved.fun), int(solved.nfev), bool(solved.success))


class _Problem:
    """Loss and gradient over standardised features, block by block, in float32 with float64 sums."""

    def __init__(self, features: torch.Tensor, targets: np.ndarray, classes: int, device: str) -> None:
        self.features = features
        self.targets = torch.from_numpy(targets).to(device)
        self.classes = classes
        self.device = device
        self.rows = max(256, _LOGITS_IN_BLOCK // classes)

    def value_and_gradient(self, point: np.ndarray, strength: float) -> tuple[float, np.ndarray]:
        """f and its gradient at W and b, flattened one after the other."""
        count, width = self.features.shape
        weight = point[: width * self.classes].reshape(width, self.classes)
        parameters = torch.from_numpy(point.astype(np.float32)).to(self.device)
        w, b = parameters[: width * self.classes].view(width, self.classes), parameters[width * self.classes :]
        loss = 0.0
        grad_w = torch.zeros(width, self.classes, dtype=torch.float64, device=self.device)
        grad_b = torch.zeros(self.classes, dtype=torch.float64, device=self.device)
        for start in range(0, count, self.rows):
            block = self.features[start : start + self.rows].to(self.device)
            residual, part = self._residual(torch.addmm(b, block, w), self.targets[start : start + self.rows])
            loss += part
            grad_w += block.T @ residual
            grad_b += residual.sum(dim=0, dtype=torch.float64)
        gradient = np.concatenate([(grad_w / count).cpu().numpy().ravel(), (grad_b / count).cpu().numpy()])
        gradient[: weight.size] += strength * weight.ravel()
        return loss / count + 0.5 * strength * float(np.vdot(weight, weight)), gradient

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
        loss = float((total.double().log_().squeeze(1) - own).sum())
        residual /= total
        residual[rows, targets] -= 1
        return residual, loss


def _standardised(features: np.ndarray, mean: np.ndarray, scale: np.ndarray, device: str) -> torch.Tensor:
    """The only copy of the features: float32, centred and scaled; on the device where they fit there."""
    copy = np.empty(features.shape, np.float32)
    for start in range(0, len(features), 65536):
        copy[start : start + 65536] = (features[start : start + 65536] - mean) / scale
    tensor = torch.from_numpy(copy)
    if device != "cpu" and tensor.nbytes < 0.6 * torch.cuda.mem_get_info(device)[0]:
        return tensor.to(device)
    return tensor

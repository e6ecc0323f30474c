"""Minimise the objective of logistic regression by Newton's method, to a bound that is computed in float64.

The value and the gradient of the objective are computed in float64, so that the stopping criterion can be trusted. A
Newton step d solves (Hessian) d = -gradient roughly, by conjugate gradients. These need products of the Hessian with a
vector, which are computed in float32, twice as fast on a CPU: rounding makes a step less good, and changes neither the
solution nor the criterion. Everything goes over blocks of rows. In memory are one float32 copy of the features, the
(N, C) float32 probabilities, and features and logits of one block in float64.

The criterion is the gap, a bound of (objective - minimum). The objective is strongly convex in the weights, with the L2
strength s: for the gradient g of the weights, the gap is |g|^2 / (2 s), where the biases are at their optimum for these
weights. Biases have no penalty. Their gradient is counted by a second-order estimate: moving the bias of class c to its
optimum gains g_c^2 / (2 h_c), with the curvature h_c along it, and changes the gradient of the weights by the weighted
mean of the features, whose length is about sqrt(R) at most where R features are standardised.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

# logits, and float64 features, that are in memory at once
_LOGITS_IN_BLOCK = 4_000_000
_FEATURES_IN_BLOCK = 16_000_000
# passes over the features after which a solution counts as not converged
_MAX_PASSES = 5000
# the quadratic model has to predict a gap of at most this share after a Newton step
_FORCING = 0.01
# the preconditioner is less than this share of its largest curvature nowhere
_LEAST_CURVATURE = 0.1
# the preconditioner's axes are computed again where the strength has fallen by more than this factor
_STRENGTHS_PER_AXES = 30
# the smallest share of a Newton step that is tried
_SHORTEST_STEP = 1e-4


@dataclass(frozen=True)
class Evaluation:
    """The objective at weights (R, C) above biases (1, C), which are one float64 tensor."""

    parameters: torch.Tensor
    value: float
    gradient: torch.Tensor
    # (C,) curvature along each bias
    bias_curvature: torch.Tensor
    gap: float


@dataclass(frozen=True)
class Solution:
    """The last point of a minimisation, and what it took."""

    point: Evaluation
    converged: bool
    # passes over the features: in float64 for value and gradient, in float32 for a product with the Hessian
    evaluations: int
    products: int


class LogisticRegression:
    """The objective over standardised features (N, R) and targets (N,), or (N, C) {0, 1}, and its minimisation.

    `features` are float32 or float64: these are the numbers that the gradient is exact for.
    """

    def __init__(self, features: torch.Tensor, targets: np.ndarray, classes: int, device: str) -> None:
        self.count, self.width = features.shape
        self.classes, self.device = classes, device
        self.targets = torch.from_numpy(targets).to(device)
        needed = features.nbytes + 4 * self.count * (self.width + classes)
        if device != "cpu" and needed < 0.6 * torch.cuda.mem_get_info(device)[0]:
            features = features.to(device)
        self.features, self.rounded = features, features.float()
        self.probabilities = torch.empty(self.count, classes, device=features.device)
        self.rows = max(256, min(_LOGITS_IN_BLOCK // classes, _FEATURES_IN_BLOCK // self.width))
        self.preconditioner: _Preconditioner | None = None

    def minimise(self, guess: torch.Tensor, strength: float, tolerance: float) -> Solution:
        """Minimise from a guess (R + 1, C) until the gap is at most `tolerance` times the objective."""
        point = self.evaluate(guess, strength)
        evaluations, products = 1, 0
        while point.gap > tolerance * point.value and evaluations + products < _MAX_PASSES:
            if products == 0:
                self._prepare_preconditioner(strength)
            goal = max(_FORCING * point.gap, 0.5 * tolerance * point.value)
            step, count = self._newton_step(point, strength, goal, _MAX_PASSES - evaluations - products)
            products += count
            slope, share = float(torch.sum(point.gradient * step)), 1.0
            while True:
                following = self.evaluate(point.parameters + share * step, strength)
                evaluations += 1
                # near the minimum the value changes by less than its rounding: there the gap decides
                better = following.value <= point.value + 1e-4 * share * slope or following.gap < point.gap
                if better or share < _SHORTEST_STEP:
                    break
                share /= 2
            if not better:
                break
            point = following
        return Solution(point, point.gap <= tolerance * point.value, evaluations, products)

    def evaluate(self, parameters: torch.Tensor, strength: float) -> Evaluation:
        """Return the objective at weights and biases, in float64, and keep the probabilities there."""
        weight, bias = parameters[:-1], parameters[-1]
        loss, gradient, curvature = 0.0, torch.zeros_like(parameters), torch.zeros_like(bias)
        for rows, block in self.blocks(self.features):
            exact = block.double()
            residual, block_loss, probabilities = self._residual(torch.addmm(bias, exact, weight), rows)
            self.probabilities[rows] = probabilities.to(self.probabilities)
            curvature += (probabilities * (1 - probabilities)).sum(dim=0)
            loss += block_loss
            gradient[:-1] += exact.T @ residual
            gradient[-1] += residual.sum(dim=0)
        gradient /= self.count
        gradient[:-1] += strength * weight
        value = loss / self.count + 0.5 * strength * float(weight.square().sum())
        curvature /= self.count
        return Evaluation(parameters, value, gradient, curvature, _gap(gradient, curvature, strength))

    def _newton_step(self, point: Evaluation, strength: float, goal: float, limit: int) -> tuple[torch.Tensor, int]:
        """Return a step after which the gap of the quadratic model is at most `goal`, and the number of products.

        It ends after `limit` products at the latest.
        """
        assert self.preconditioner is not None
        residual, step = -point.gradient, torch.zeros_like(point.gradient)
        direction = solved = self.preconditioner.solve(residual, strength)
        agreement = float(torch.sum(residual * solved))
        count = 0
        while count < max(limit, 1):
            product = self._hessian_product(direction, strength)
            count += 1
            length = agreement / float(torch.sum(direction * product))
            step += length * direction
            residual -= length * product
            if not _gap(residual, point.bias_curvature, strength) > goal:
                break
            solved = self.preconditioner.solve(residual, strength)
            previous, agreement = agreement, float(torch.sum(residual * solved))
            direction = solved + agreement / previous * direction
        return step, count

    def _prepare_preconditioner(self, strength: float) -> None:
        """Update the preconditioner to the probabilities that are kept."""
        known = self.preconditioner
        if known is None or not known.strength / _STRENGTHS_PER_AXES <= strength <= known.strength:
            self.preconditioner = known = _Preconditioner(self, strength)
        known.update_classes()

    def _hessian_product(self, vector: torch.Tensor, strength: float) -> torch.Tensor:
        """Return the product of the Hessian with a vector (R + 1, C), at the probabilities that are kept."""
        rounded = vector.float()
        product = torch.zeros_like(vector)
        for rows, block in self.blocks(self.rounded):
            change = self._change_of_residual(torch.addmm(rounded[-1], block, rounded[:-1]), rows)
            product[:-1] += block.T @ change
            product[-1] += change.sum(dim=0)
        product /= self.count
        product[:-1] += strength * vector[:-1]
        return product

    def blocks(self, features: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield (rows, features) of every block, on the device."""
        for start in range(0, self.count, self.rows):
            rows = slice(start, start + self.rows)
            yield rows, features[rows].to(self.device)

    def _residual(self, logits: torch.Tensor, rows: slice) -> tuple[torch.Tensor, float, torch.Tensor]:
        """Return d loss / d logits of a block, its summed loss, and its probabilities; `logits` is overwritten."""
        targets = self.targets[rows]
        if targets.ndim == 2:
            truth = targets.to(logits)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="sum")
            probabilities = torch.sigmoid(logits)
            return probabilities - truth, float(loss), probabilities
        logits -= logits.amax(dim=1, keepdim=True)
        true_logits = logits.gather(1, targets[:, None])
        probabilities = logits.exp_()
        total = probabilities.sum(dim=1, keepdim=True)
        loss = (total.log() - true_logits).sum()
        probabilities /= total
        residual = probabilities.clone()
        residual.scatter_add_(1, targets[:, None], torch.full_like(true_logits, -1.0))
        return residual, float(loss), probabilities

    def _change_of_residual(self, change: torch.Tensor, rows: slice) -> torch.Tensor:
        """Return the first-order change of d loss / d logits of a block where the logits change by `change`."""
        probabilities = self.probabilities[rows].to(self.device)
        if self.targets.ndim == 2:
            return change.mul_(probabilities * (1 - probabilities))
        # relative to the true class, whose probability is often nearly 1: otherwise float32 would lose the difference
        change -= change.gather(1, self.targets[rows][:, None])
        change -= (probabilities * change).sum(dim=1, keepdim=True)
        return change.mul_(probabilities)


class _Preconditioner:
    """An approximation of the Hessian that is easily inverted, at the probabilities that a problem keeps.

    The Hessian is the mean over examples of S_i (x) x_i x_i^T, with S_i (C, C) the curvature of the loss by the logits.
    It is replaced by the Kronecker product of the mean S_i with the mean x_i x_i^T, weighted by the traces of S_i. The
    weighted mean of the features is removed first, so that weights and biases are independent. Small curvatures are
    raised: the criterion is the length of the gradient, in which they count little, and they are the least certain.
    """

    def __init__(self, problem: LogisticRegression, strength: float) -> None:
        """Compute the mean `centre` (R,) and the principal axes (R, R) of the weighted features."""
        self.problem, self.strength = problem, strength
        second = torch.zeros(problem.width, problem.width, dtype=torch.float64, device=problem.device)
        first, total = second.new_zeros(problem.width), 0.0
        for rows, block in problem.blocks(problem.rounded):
            probabilities = problem.probabilities[rows].to(problem.device)
            weights = (probabilities * (1 - probabilities)).sum(dim=1, keepdim=True)
            weighted = block * weights
            second += block.T @ weighted
            first += weighted.sum(dim=0, dtype=torch.float64)
            total += float(weights.sum(dtype=torch.float64))
        total = max(total, 1e-30)
        self.centre = first / total
        # eigenvectors in float32, as the products with the Hessian
        variance, self.axes = torch.linalg.eigh((second / total - torch.outer(self.centre, self.centre)).float())
        self.variance = variance.clamp(min=0)

    def update_classes(self) -> None:
        """Compute the principal axes `mixing` (C, C) of the mean curvature by the logits, and the `curvature` (C,)."""
        problem = self.problem
        between = torch.zeros(problem.classes, problem.classes, dtype=torch.float64, device=problem.device)
        of_class = between.new_zeros(problem.classes)
        for start in range(0, problem.count, problem.rows):
            probabilities = problem.probabilities[start : start + problem.rows].to(problem.device).double()
            if problem.targets.ndim == 2:
                of_class += (probabilities * (1 - probabilities)).sum(dim=0)
            else:
                of_class += probabilities.sum(dim=0)
                between += probabilities.T @ probabilities
        curvature, self.mixing = torch.linalg.eigh((torch.diag(of_class) - between) / problem.count)
        self.curvature = curvature.clamp(min=1e-6 * float(curvature[-1]) + 1e-30)
        of_weights = self.variance[:, None] * self.curvature
        self.of_weights = of_weights + _LEAST_CURVATURE * float(of_weights.max())

    def solve(self, gradient: torch.Tensor, strength: float) -> torch.Tensor:
        """Return the product of the inverse with a gradient (R + 1, C)."""
        bias = gradient[-1]
        weight = (gradient[:-1] - torch.outer(self.centre, bias)) @ self.mixing
        weight = (self.axes.T @ weight.float()) / (self.of_weights + strength)
        weight = (self.axes @ weight.float()).double() @ self.mixing.T
        bias = (bias @ self.mixing / self.curvature) @ self.mixing.T - self.centre @ weight
        return torch.vstack([weight, bias])


def _gap(gradient: torch.Tensor, bias_curvature: torch.Tensor, strength: float) -> float:
    """Return the bound of (objective - minimum) of a gradient (R + 1, C), as the module describes it."""
    of_weights, of_biases = float(gradient[:-1].norm()), float(gradient[-1].norm())
    of_weights += math.sqrt(len(gradient) - 1) * of_biases
    gained_by_biases = float((gradient[-1].square() / (2 * bias_curvature.clamp(min=1e-12))).sum())
    return of_weights**2 / (2 * strength) + gained_by_biases

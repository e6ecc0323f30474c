"""A linear probe: solve a path of strengths, choose one on validation examples, solve again on all of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bob_gauntlet.datasets.partition import NO_VALIDATION_EXAMPLES, partition
from bob_gauntlet.engine.frozen.labelled_features import LabelledFeatures
from bob_gauntlet.engine.frozen.logistic import Head, regularisation_path
from bob_gauntlet.errors import BobError
from bob_gauntlet.metrics.classification import in_top_k, mean_auc
from bob_gauntlet.runtime.artifacts import Arrays
from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class Probe:
    """A chosen head and how it was chosen."""

    head: Head
    # validation score of every strength, in the order of `strengths`: % accuracy, or % mean AUC
    validation: tuple[float, ...]
    strengths: tuple[float, ...]

    @property
    def at_edge(self) -> bool:
        """Whether the chosen strength is the weakest or strongest that was tried."""
        return self.head.strength in (min(self.strengths), max(self.strengths))


def fit_probe(
    data: LabelledFeatures, strengths: Sequence[float], seed: int, context: RunContext, recipe: dict[str, object]
) -> Probe:
    """The probe of one seed, from the artefacts where it was fitted before."""
    key = {"recipe": recipe, "features": data.key, "seed": seed}
    packed = context.artifacts.get("heads", key, lambda: _pack(_fit(data, strengths, seed, context)))
    return _unpack(packed)


def held_out_logits(
    data: LabelledFeatures, found: Probe, seed: int, context: RunContext, recipe: dict[str, object]
) -> tuple[np.ndarray, np.ndarray]:
    """(V, C) logits and targets of the validation examples, by a head of the chosen strength that never saw them."""
    fit, choose = partition(data.targets, data.train, seed)
    strength = found.head.strength

    def solve() -> dict[str, np.ndarray]:
        solved = next(
            regularisation_path(
                data.features[fit], data.targets[fit], data.classes, [strength], device=context.device, tolerance=1e-8
            )
        )
        return {"logits": solved.logits(data.features[choose])}

    key = {"recipe": recipe, "features": data.key, "seed": seed, "held out": True}
    return context.artifacts.get("heads", key, solve)["logits"], data.targets[choose]


def _fit(data: LabelledFeatures, strengths: Sequence[float], seed: int, context: RunContext) -> Probe:
    fit, choose = partition(data.targets, data.train, seed)
    tried: list[tuple[float, float, Head]] = []
    with context.progress.step("linear probe: strengths", total=len(strengths) + 1) as advance:
        found = regularisation_path(
            data.features[fit], data.targets[fit], data.classes, strengths, device=context.device, advance=advance
        )
        for head in found:
            tried.append((*validation_score(head.logits(data.features[choose]), data.targets[choose]), head))
        # the best score; of equal ones the lowest validation loss
        best = max(tried, key=lambda entry: entry[:2])[2]
        final = next(
            regularisation_path(
                data.features, data.targets, data.classes, [best.strength],
                device=context.device, tolerance=1e-8, start=best, advance=advance,
            )
        )  # fmt: skip
    return Probe(final, tuple(score for score, _, _ in tried), tuple(head.strength for _, _, head in tried))


def validation_score(scores: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Validation score in % and the negative validation loss.

    Of several labels an image mean AUC, and 50, which is chance, where no label has both values among a few images.
    BobError where there is no image.
    """
    if not len(targets):
        raise BobError(NO_VALIDATION_EXAMPLES)
    if targets.ndim == 2:
        found = mean_auc(scores, targets)
        return 50.0 if np.isnan(found) else found, 0.0
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_likelihood = shifted[np.arange(len(targets)), targets] - np.log(np.exp(shifted).sum(axis=1))
    return 100 * float(in_top_k(scores, targets, 1).mean()), float(log_likelihood.mean())


def _pack(found: Probe) -> dict[str, np.ndarray]:
    head = found.head
    facts = {
        "strength": head.strength,
        "objective": head.objective,
        "evaluations": head.evaluations,
        "converged": head.converged,
        "validation": found.validation,
        "strengths": found.strengths,
    }
    arrays = {"weight": head.weight, "bias": head.bias, "mean": head.mean, "scale": head.scale}
    return {**arrays, "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}


def _unpack(arrays: Arrays) -> Probe:
    packed: dict[str, Any] = dict(arrays)
    facts = json.loads(packed.pop("facts").tobytes())
    validation, strengths = tuple(facts.pop("validation")), tuple(facts.pop("strengths"))
    return Probe(Head(**packed, **facts), validation, strengths)

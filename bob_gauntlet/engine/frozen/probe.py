"""A linear probe: fit heads of several strengths, choose one on validation examples, fit it again on all examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from bob_gauntlet.datasets.partition import NO_VALIDATION_EXAMPLES, partition
from bob_gauntlet.engine.frozen.labelled_features import LabelledFeatures
from bob_gauntlet.engine.frozen.logistic import Head, regularisation_path
from bob_gauntlet.errors import BobError
from bob_gauntlet.metrics.calibration import cross_entropies
from bob_gauntlet.metrics.classification import in_top_k, mean_auc
from bob_gauntlet.metrics.finite import finite_rows
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.packing import pack_json, unpack_json
from bob_gauntlet.runtime.schema import Array, Arrays, Json, Schema


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
    """Return the linear probe of one seed: read from the artefacts, or fitted where it is not there yet.

    `recipe` is the recipe's canonical form, a part of the artefact key.
    """
    key = {"recipe": recipe, "features": data.key, "seed": seed}
    schema = _probe_schema(data.features.shape[1], data.classes, strengths)
    return _unpack(context.artifacts.get("heads", key, lambda: _pack(_fit(data, strengths, seed, context)), schema))


def held_out_logits(
    data: LabelledFeatures, probe: Probe, seed: int, context: RunContext, recipe: dict[str, object]
) -> tuple[np.ndarray, np.ndarray]:
    """Return (V, C) logits and the targets of the validation examples.

    The logits come from a head of the chosen strength that is fitted without the validation examples.
    """
    fit, choose = partition(data.targets, data.train, seed)
    strength = probe.head.strength

    def solve() -> dict[str, np.ndarray]:
        head = next(
            regularisation_path(
                data.features[fit],
                data.targets[fit],
                data.classes,
                [strength],
                device=context.config.device,
                tolerance=1e-8,
            )
        )
        return {"logits": head.logits(data.features[choose])}

    key = {"recipe": recipe, "features": data.key, "seed": seed, "held out": True}
    schema = Schema({"logits": Array("float32", (len(choose), data.classes))})
    return context.artifacts.get("heads", key, solve, schema)["logits"], data.targets[choose]


def _fit(data: LabelledFeatures, strengths: Sequence[float], seed: int, context: RunContext) -> Probe:
    """Choose the strength on validation examples, and fit its head on all examples."""
    fit, choose = partition(data.targets, data.train, seed)
    candidates: list[tuple[float, float, Head]] = []
    with context.progress.step("linear probe: strengths", total=len(strengths) + 1) as advance:
        heads = regularisation_path(
            data.features[fit],
            data.targets[fit],
            data.classes,
            strengths,
            device=context.config.device,
            advance=advance,
        )
        for head in heads:
            candidates.append((*validation_score(head.logits(data.features[choose]), data.targets[choose]), head))
        # the highest validation score; between equal scores the lowest validation loss
        best = max(candidates, key=lambda candidate: candidate[:2])[2]
        final = next(
            regularisation_path(
                data.features, data.targets, data.classes, [best.strength],
                device=context.config.device, tolerance=1e-8, start=best, advance=advance,
            )
        )  # fmt: skip
    return Probe(final, tuple(score for score, _, _ in candidates), tuple(head.strength for _, _, head in candidates))


def validation_score(scores: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Return the validation score in % and the negative validation loss, which decides between equal scores.

    `scores` are (N, C) logits. The score is the top-1 accuracy and the loss the cross-entropy in nats. With several
    labels an image the score is the mean AUC and the loss 0; where no label has both values among a few images, the
    score is 50, which is chance. NaN and infinity among the scores of an image are wrong, and the loss is infinite.
    Raises BobError where there is no image.
    """
    if not len(targets):
        raise BobError(NO_VALIDATION_EXAMPLES)
    if targets.ndim == 2:
        auc = mean_auc(scores, targets)
        return 50.0 if np.isnan(auc) else auc, 0.0 if finite_rows(scores).all() else -np.inf
    # in the precision of the scores: another one could choose differently between nearly equal losses
    losses = cross_entropies(scores, targets, scores.dtype)
    return 100 * float(in_top_k(scores, targets, 1).mean()), -float(losses.mean())


class _HeadFacts(TypedDict):
    """The facts that are stored with the arrays of a probe: strengths, validation scores, and how it was solved."""

    strength: float
    objective: float
    evaluations: int
    converged: bool
    validation: list[float]
    strengths: list[float]


def _probe_schema(width: int, classes: int, strengths: Sequence[float]) -> Schema:
    """Return the schema of a probe of `strengths` on features of a width."""

    def check_strengths(arrays: Arrays) -> None:
        facts = unpack_json(arrays["facts"])
        if not (len(facts["validation"]) == len(facts["strengths"]) == len(strengths)):
            raise ValueError(f"facts are not those of {len(strengths)} strengths")

    arrays: dict[str, Array | Json] = {
        "weight": Array("float64", (width, classes)),
        "bias": Array("float64", (classes,)),
        "mean": Array("float64", (width,)),
        "scale": Array("float64", (width,)),
        "facts": Json(_HeadFacts),
    }
    return Schema(arrays, check_strengths)


def _pack(probe: Probe) -> dict[str, np.ndarray]:
    """Return a probe as the arrays of its artefact."""
    head = probe.head
    facts = {
        "strength": head.strength,
        "objective": head.objective,
        "evaluations": head.evaluations,
        "converged": head.converged,
        "validation": probe.validation,
        "strengths": probe.strengths,
    }
    arrays = {"weight": head.weight, "bias": head.bias, "mean": head.mean, "scale": head.scale}
    return {**arrays, "facts": pack_json(facts)}


def _unpack(arrays: Arrays) -> Probe:
    """Return the probe that `_pack` has turned into arrays."""
    fields: dict[str, Any] = dict(arrays)
    facts = unpack_json(fields.pop("facts"))
    validation, strengths = tuple(facts.pop("validation")), tuple(facts.pop("strengths"))
    return Probe(Head(**fields, **facts), validation, strengths)

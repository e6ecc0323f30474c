"""A linear probe: fit heads of several strengths, choose one on validation examples, fit it again on all examples."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
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

log = logging.getLogger(__name__)

# of the chosen head: small enough that another number of threads gives the same scores
_FINAL_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Probe:
    """A chosen head and how it was chosen."""

    head: Head
    # the head of the same strength that was fitted without the validation examples
    held_out: Head
    # validation score of every strength, in the order of `strengths`: % accuracy, or % mean AUC
    validation: tuple[float, ...]
    strengths: tuple[float, ...]
    # the strengths whose head was not solved to convergence when they were compared
    unconverged: tuple[float, ...] = ()

    @property
    def at_edge(self) -> bool:
        """Whether the chosen strength is the weakest or strongest that was tried."""
        return self.head.strength in (min(self.strengths), max(self.strengths))

    @property
    def converged(self) -> bool:
        """Whether the head, and every head that it was compared with, was solved to convergence."""
        return self.head.converged and not self.unconverged


def fit_probe(
    data: LabelledFeatures, strengths: Sequence[float], seed: int, context: RunContext, recipe: dict[str, object]
) -> Probe:
    """Return the linear probe of one seed: read from the artefacts, or fitted where it is not there yet.

    `recipe` is the recipe's canonical form, a part of the artefact key.
    """
    key = {"recipe": recipe, "features": data.key, "seed": seed}
    schema = _probe_schema(data.features.shape[1], data.classes, strengths)
    return _unpack(context.artifacts.get("heads", key, lambda: _pack(_fit(data, strengths, seed, context)), schema))


def held_out_logits(data: LabelledFeatures, probe: Probe, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (V, C) logits and the targets of the validation examples.

    The logits come from the head of the chosen strength that was fitted without the validation examples.
    """
    choose = partition(data.targets, data.train, seed)[1]
    return probe.held_out.logits(data.features[choose]), data.targets[choose]


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
                device=context.config.device, tolerance=_FINAL_TOLERANCE, start=best, advance=advance,
            )
        )  # fmt: skip
    tried = [head for _, _, head in candidates]
    _warn_of_unconverged([*tried, final], len(data.features))
    return Probe(
        head=final,
        held_out=best,
        validation=tuple(score for score, _, _ in candidates),
        strengths=tuple(head.strength for head in tried),
        unconverged=tuple(head.strength for head in tried if not head.converged),
    )


def _warn_of_unconverged(heads: Sequence[Head], count: int) -> None:
    """Log one warning where heads did not converge."""
    unsolved = [head for head in heads if not head.converged]
    if unsolved:
        worst = max(unsolved, key=lambda head: head.gap / head.objective)
        log.warning(
            "the linear probe on %s x %s features did not converge for %s of %s strengths (strength %s: its objective "
            "may exceed the minimum by %.1e of it); its scores say `converged: false` in their provenance; check the "
            "features for outliers",
            count, len(worst.mean), len({head.strength for head in unsolved}), len({head.strength for head in heads}),
            worst.strength, worst.gap / worst.objective,
        )  # fmt: skip


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


_HEAD_ARRAYS = ("weight", "bias", "mean", "scale")


class _HeadFacts(TypedDict):
    """The facts that are stored with the arrays of a probe: strengths, validation scores, and how it was solved."""

    strength: float
    objective: float
    gap: float
    gradient_norm: float
    evaluations: int
    products: int
    converged: bool


class _ProbeFacts(_HeadFacts):
    """The content of the artefact of a probe beside its arrays: the facts of its head, and how it was chosen."""

    held_out: _HeadFacts
    validation: list[float]
    strengths: list[float]
    unconverged: list[float]


def _probe_schema(width: int, classes: int, strengths: Sequence[float]) -> Schema:
    """Return the schema of a probe of `strengths` on features of a width."""

    def check_strengths(arrays: Arrays) -> None:
        facts = unpack_json(arrays["facts"])
        if not (len(facts["validation"]) == len(facts["strengths"]) == len(strengths)):
            raise ValueError(f"facts are not those of {len(strengths)} strengths")

    shapes = {"weight": (width, classes), "bias": (classes,), "mean": (width,), "scale": (width,)}
    arrays: dict[str, Array | Json] = {
        f"{prefix}{name}": Array("float64", shapes[name]) for prefix in ("", "held_out_") for name in _HEAD_ARRAYS
    }
    return Schema({**arrays, "facts": Json(_ProbeFacts)}, check_strengths)


def _pack(probe: Probe) -> dict[str, np.ndarray]:
    """Return a probe as the arrays of its artefact."""
    arrays = {name: getattr(probe.head, name) for name in _HEAD_ARRAYS}
    held_out = {f"held_out_{name}": getattr(probe.held_out, name) for name in _HEAD_ARRAYS}
    facts = {
        **_head_facts(probe.head),
        "held_out": _head_facts(probe.held_out),
        "validation": probe.validation,
        "strengths": probe.strengths,
        "unconverged": probe.unconverged,
    }
    return {**arrays, **held_out, "facts": pack_json(facts)}


def _head_facts(head: Head) -> dict[str, Any]:
    """Return the fields of a head that are no arrays."""
    return {field.name: getattr(head, field.name) for field in fields(head) if field.name not in _HEAD_ARRAYS}


def _unpack(arrays: Arrays) -> Probe:
    """Return the probe that `_pack` has turned into arrays."""
    facts = unpack_json(arrays["facts"])
    lists = {name: tuple(facts.pop(name)) for name in ("validation", "strengths", "unconverged")}
    held_out: dict[str, Any] = {name: arrays[f"held_out_{name}"] for name in _HEAD_ARRAYS}
    chosen: dict[str, Any] = {name: arrays[name] for name in _HEAD_ARRAYS}
    return Probe(held_out=Head(**held_out, **facts.pop("held_out")), head=Head(**chosen, **facts), **lists)

"""Who takes part in an analysis, and what kind of backbone each one is."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from bob_gauntlet.analysis.result import Options
from bob_gauntlet.pools.folder import RANDOM, BackboneRow
from bob_gauntlet.pools.pool import MeasureKey
from bob_gauntlet.ranking.score_table import ALL, MIN_COVERAGE, Entrant, Standing
from bob_gauntlet.scores.score import Score, difference
from bob_gauntlet.scores.settings import find

KINDS = {
    "ViT": "transformer",
    "SwinV2": "transformer",
    "Swin": "transformer",
    "ResNet": "CNN",
    "ConvNeXt": "CNN",
    "RegNet": "CNN",
    "EfficientNet": "CNN",
    "EfficientNet-Lite": "CNN",
}
"""Family of an architecture -> transformer or CNN; the encoder of Stable Diffusion is neither."""

SELF_SUPERVISED = "self-supervised"
"""The paper's style of pretraining with no labels, CLIP's pairs of images and texts included (section 5, Table 20)."""


def restricted(standing: Standing, keep: Iterable[bool]) -> Standing:
    """The standing with some entrants only; the pool's mean and std stay."""
    kept = tuple(entrant for entrant, wanted in zip(standing.entrants, keep, strict=True) if wanted)
    return replace(standing, entrants=kept)


def candidates(standing: Standing) -> Standing:
    """Those that are ranked: the pool's candidates and the user's own."""
    return restricted(standing, (e.own or e.member in standing.pool.candidates for e in standing.entrants))


def pretrained(standing: Standing) -> Standing:
    """Everybody but the random initialisations; one that the user named himself stays."""
    return restricted(standing, (e.own or e.about.method != RANDOM["method"] for e in standing.entrants))


def best(standing: Standing, column: str) -> list[tuple[Entrant, float]]:
    """(entrant, mean z) of those that cover enough of a column, best first."""
    z = np.where(standing.coverage(column) >= MIN_COVERAGE, standing.mean_z(column), np.nan)
    found = [(e, float(v)) for e, v in zip(standing.entrants, z, strict=True) if np.isfinite(v)]
    return sorted(found, key=lambda pair: -pair[1])


def overall(standing: Standing, *, covered: bool = True) -> np.ndarray:
    """(B,) mean z of All; NaN where nothing was measured, or where less than MIN_COVERAGE is covered."""
    if ALL not in standing.columns:
        return np.full(len(standing.entrants), np.nan)
    z = standing.mean_z(ALL)
    return np.where(standing.coverage(ALL) >= MIN_COVERAGE, z, np.nan) if covered else z


def kind(about: BackboneRow) -> str:
    """transformer or CNN; "" where that is not known."""
    return KINDS.get(about.family, "")


def style(about: BackboneRow) -> str:
    """supervised or self-supervised (with vision-language); "" for random initialisations, depth, and the unknown.

    Lines without a style (baselines/mini) are judged by their method.
    """
    if about.method in ("", RANDOM["method"], "MiDaS"):
        return ""
    if about.style:
        return "supervised" if about.style == "supervised" else SELF_SUPERVISED
    return "supervised" if about.method == "supervised" else SELF_SUPERVISED


def group(about: BackboneRow) -> str:
    """The groups of Table 20: self-supervised, or supervised with the data that pretraining began with.

    >>> group(BackboneRow("a", "candidate", "a", method="supervised", data="ImageNet-21k, then 1k"))
    'supervised (ImageNet-21k)'
    """
    found = style(about)
    return f"supervised ({about.data.split(',')[0]})" if found == "supervised" else found


def score_of(standing: Standing, entrant: Entrant, measure: MeasureKey, options: Options) -> Score | None:
    """A score that need not be a ranked one; None where there is none that may stand beside the pool's.

    Where the pool has no such measure, own scores of its members are taken too: they compare with each other.
    """
    if measure in entrant.scores:
        return entrant.scores[measure]
    example = standing.pool.example_of(measure)
    for name in (entrant.name, entrant.member):
        for score in options.own.get(name, ()):
            fits = score.scale == standing.pool.scale if example is None else difference(score, example) is None
            if score.measure == measure and fits:
                return score
    return None


def value(standing: Standing, entrant: Entrant, measure: MeasureKey, options: Options) -> float:
    """The value of such a score; NaN where there is none."""
    score = score_of(standing, entrant, measure, options)
    return float("nan") if score is None else score.value


def lacking(standing: Standing, measures: Iterable[MeasureKey]) -> list[str]:
    """A line that names those of the measures that nobody can have here; nothing where all are there."""
    ranked = {m: find(m[0]).measure(m[1]).ranked for m in measures}
    missing = [m for m in ranked if m not in (standing.measures if ranked[m] else standing.pool.references)]
    names = ", ".join(f"{setting} {metric}" for setting, metric in missing)
    return [f"pool {standing.pool.name} has no {names}"] if missing else []

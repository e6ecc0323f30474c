"""Who takes part in an analysis, and what kind of backbone each one is."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from bob_gauntlet.analysis.result import AnalysisOptions
from bob_gauntlet.pools.folder import RANDOM_INIT, BackboneRow
from bob_gauntlet.pools.pool import MeasureKey
from bob_gauntlet.ranking.score_table import ALL, MIN_COVERAGE, ScoredBackbone, ScoreTable
from bob_gauntlet.scores.score import Score, difference
from bob_gauntlet.scores.settings import find_setting

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


def restricted(score_table: ScoreTable, keep: Iterable[bool]) -> ScoreTable:
    """The standing with some entrants only; the pool's mean and std stay."""
    kept = tuple(backbone for backbone, wanted in zip(score_table.backbones, keep, strict=True) if wanted)
    return replace(score_table, backbones=kept)


def candidates(score_table: ScoreTable) -> ScoreTable:
    """Those that are ranked: the pool's candidates and the user's own."""
    return restricted(
        score_table, (e.highlighted or e.member in score_table.pool.candidates for e in score_table.backbones)
    )


def pretrained(score_table: ScoreTable) -> ScoreTable:
    """Everybody but the random initialisations; one that the user named himself stays."""
    return restricted(
        score_table, (e.highlighted or e.about.method != RANDOM_INIT["method"] for e in score_table.backbones)
    )


def best(score_table: ScoreTable, column: str) -> list[tuple[ScoredBackbone, float]]:
    """(entrant, mean z) of those that cover enough of a column, best first."""
    z = np.where(score_table.coverage(column) >= MIN_COVERAGE, score_table.mean_z(column), np.nan)
    found = [(e, float(v)) for e, v in zip(score_table.backbones, z, strict=True) if np.isfinite(v)]
    return sorted(found, key=lambda pair: -pair[1])


def overall(score_table: ScoreTable, *, covered: bool = True) -> np.ndarray:
    """(B,) mean z of All; NaN where nothing was measured, or where less than MIN_COVERAGE is covered."""
    if ALL not in score_table.columns:
        return np.full(len(score_table.backbones), np.nan)
    z = score_table.mean_z(ALL)
    return np.where(score_table.coverage(ALL) >= MIN_COVERAGE, z, np.nan) if covered else z


def kind(about: BackboneRow) -> str:
    """transformer or CNN; "" where that is not known."""
    return KINDS.get(about.family, "")


def style(about: BackboneRow) -> str:
    """supervised or self-supervised (with vision-language); "" for random initialisations, depth, and the unknown.

    Lines without a style (baselines/mini) are judged by their method.
    """
    if about.method in ("", RANDOM_INIT["method"], "MiDaS"):
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


def score_of(
    score_table: ScoreTable, backbone: ScoredBackbone, measure: MeasureKey, options: AnalysisOptions
) -> Score | None:
    """A score that need not be a ranked one; None where there is none that may stand beside the pool's.

    Where the pool has no such measure, own scores of its members are taken too: they compare with each other.
    """
    if measure in backbone.scores:
        return backbone.scores[measure]
    example = score_table.pool.comparable_score(measure)
    for name in (backbone.name, backbone.member):
        for score in options.own.get(name, ()):
            fits = score.scale == score_table.pool.scale if example is None else difference(score, example) is None
            if score.measure == measure and fits:
                return score
    return None


def value(score_table: ScoreTable, backbone: ScoredBackbone, measure: MeasureKey, options: AnalysisOptions) -> float:
    """The value of such a score; NaN where there is none."""
    score = score_of(score_table, backbone, measure, options)
    return float("nan") if score is None else score.value


def lacking(score_table: ScoreTable, measures: Iterable[MeasureKey]) -> list[str]:
    """A line that names those of the measures that nobody can have here; nothing where all are there."""
    ranked = {m: find_setting(m[0]).measure(m[1]).ranked for m in measures}
    missing = [m for m in ranked if m not in (score_table.measures if ranked[m] else score_table.pool.references)]
    names = ", ".join(f"{setting} {metric}" for setting, metric in missing)
    return [f"pool {score_table.pool.name} has no {names}"] if missing else []

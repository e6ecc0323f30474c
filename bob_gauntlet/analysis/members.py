"""Choose the backbones that take part in an analysis, and classify each one."""

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
"""Architecture family -> transformer or CNN. The encoder of Stable Diffusion is neither."""

SELF_SUPERVISED = "self-supervised"
"""Pretraining without labels. As in the paper, it includes CLIP's pairs of images and texts (section 5, Table 20)."""


def keep_backbones(score_table: ScoreTable, keep: Iterable[bool]) -> ScoreTable:
    """Return the score table with the backbones for which `keep` is true; mean and std of the pool do not change."""
    kept = tuple(backbone for backbone, wanted in zip(score_table.backbones, keep, strict=True) if wanted)
    return replace(score_table, backbones=kept)


def candidates(score_table: ScoreTable) -> ScoreTable:
    """Return the score table with candidates of the pool and highlighted backbones (own, or named by the user)."""
    return keep_backbones(
        score_table, (b.highlighted or b.member in score_table.pool.candidates for b in score_table.backbones)
    )


def pretrained(score_table: ScoreTable) -> ScoreTable:
    """Return the score table without random initialisations; highlighted ones stay."""
    return keep_backbones(
        score_table, (b.highlighted or b.about.method != RANDOM_INIT["method"] for b in score_table.backbones)
    )


def sort_by_mean_z(score_table: ScoreTable, column: str) -> list[tuple[ScoredBackbone, float]]:
    """Return (backbone, mean z) of the backbones that cover at least MIN_COVERAGE of a column, best first."""
    z = np.where(score_table.coverage(column) >= MIN_COVERAGE, score_table.mean_z(column), np.nan)
    pairs = [(b, float(value)) for b, value in zip(score_table.backbones, z, strict=True) if np.isfinite(value)]
    return sorted(pairs, key=lambda pair: -pair[1])


def overall_mean_z(score_table: ScoreTable, *, covered: bool = True) -> np.ndarray:
    """Return the (B,) mean z over All; NaN for backbones without a score.

    With `covered`, NaN also for backbones that cover less than MIN_COVERAGE.
    """
    if ALL not in score_table.columns:
        return np.full(len(score_table.backbones), np.nan)
    z = score_table.mean_z(ALL)
    return np.where(score_table.coverage(ALL) >= MIN_COVERAGE, z, np.nan) if covered else z


def architecture_kind(about: BackboneRow) -> str:
    """Return "transformer" or "CNN", or "" if the kind is not known."""
    return KINDS.get(about.family, "")


def pretraining_style(about: BackboneRow) -> str:
    """Return "supervised" or "self-supervised", which includes vision-language pretraining.

    Return "" for random initialisations, depth estimation (MiDaS), and an unknown method. The method decides for rows
    without a style, such as those of baselines/mini.
    """
    if about.method in ("", RANDOM_INIT["method"], "MiDaS"):
        return ""
    if about.style:
        return "supervised" if about.style == "supervised" else SELF_SUPERVISED
    return "supervised" if about.method == "supervised" else SELF_SUPERVISED


def pretraining_group(about: BackboneRow) -> str:
    """Return the group of Table 20: self-supervised, or supervised with the first dataset of the pretraining.

    >>> pretraining_group(BackboneRow("a", "candidate", "a", method="supervised", data="ImageNet-21k, then 1k"))
    'supervised (ImageNet-21k)'
    """
    style = pretraining_style(about)
    return f"supervised ({about.data.split(',')[0]})" if style == "supervised" else style


def comparable_score(
    score_table: ScoreTable, backbone: ScoredBackbone, measure: MeasureKey, options: AnalysisOptions
) -> Score | None:
    """Return a backbone's score of a measure, ranked or not; None if no score is comparable with the pool's.

    If the pool does not have the measure, the user's scores of pool members count too: they are comparable with each
    other.
    """
    if measure in backbone.scores:
        return backbone.scores[measure]
    example = score_table.pool.comparable_score(measure)
    for name in (backbone.name, backbone.member):
        for score in options.own_scores.get(name, ()):
            fits = score.scale == score_table.pool.scale if example is None else difference(score, example) is None
            if score.measure == measure and fits and not score.not_quiet:
                return score
    return None


def comparable_value(
    score_table: ScoreTable, backbone: ScoredBackbone, measure: MeasureKey, options: AnalysisOptions
) -> float:
    """Return the value of `comparable_score`; NaN if there is no such score."""
    score = comparable_score(score_table, backbone, measure, options)
    return float("nan") if score is None else score.value


def note_missing(score_table: ScoreTable, measures: Iterable[MeasureKey]) -> list[str]:
    """Return one line that names the measures which no backbone of the pool has; an empty list if none is missing."""
    ranked = {m: find_setting(m[0]).measure(m[1]).ranked for m in measures}
    missing = [m for m in ranked if m not in (score_table.measures if ranked[m] else score_table.pool.references)]
    names = ", ".join(f"{setting} {metric}" for setting, metric in missing)
    return [f"pool {score_table.pool.name} has no {names}"] if missing else []

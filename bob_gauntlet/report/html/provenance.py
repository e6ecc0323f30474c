"""The scores of a page with their provenance: a table of every score, and how each setting was run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bob_gauntlet.report.content import Report
from bob_gauntlet.report.html.formatting import describe_source
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.settings import SETTINGS

Facts = Mapping[str, str]
"""Name of a fact, such as "protocol" -> its value as text, in the order of the page."""

_SHOWN_ELSEWHERE = ("stderr", "n", "metrics", "command", "started", "versions", "seeds", "curve", "pictures")
"""Provenance keys that the table of scores, a fact of another name or another section shows."""


@dataclass(frozen=True)
class ScoreLine:
    """One score as a row of the table."""

    score: Score
    source: str
    stderr: float | None
    n: int | None
    # None if the pool does not rank the measure, or if the score cannot be compared with the pool
    z: float | None


@dataclass(frozen=True)
class BackboneProvenance:
    """The scores of one backbone; the facts that all its settings share, and the remaining facts of each setting."""

    backbone: str
    title: str
    lines: tuple[ScoreLine, ...]
    shared: Facts
    settings: Mapping[str, Facts]


def build_provenance(report: Report) -> list[BackboneProvenance]:
    """Build the provenance of every backbone that has scores, in the order of the report."""
    scores_by_backbone: dict[str, list[Score]] = {name: [] for name in report.backbones}
    for score in report.scores:
        scores_by_backbone.setdefault(score.backbone, []).append(score)
    z, titles = _z_by_measure(report), _titles(report)
    position = {setting: i for i, setting in enumerate(SETTINGS)}
    provenance = []
    for name, scores in scores_by_backbone.items():
        ordered = sorted(scores, key=lambda score: position.get(score.setting, len(position)))
        lines = tuple(_build_line(score, z.get((name, *score.measure))) for score in ordered)
        if lines:
            shared, settings = _split_shared(_facts_by_setting(ordered))
            provenance.append(BackboneProvenance(name, titles.get(name, name), lines, shared, settings))
    return provenance


def collect_facts(score: Score) -> dict[str, str]:
    """Collect how a score was measured, as text; unknown facts are left out."""
    provenance = score.provenance
    facts: dict[str, Any] = {
        "protocol": score.protocol_hash,
        **{f"data, {role}": fingerprint for role, fingerprint in score.datasets.items()},
        "transform": score.transform,
        "precision": score.precision,
        "device": score.device,
        "backbone": score.backbone_fingerprint,
        "limit": score.cut,
        "partial": score.partial,
        "seeds": ", ".join(map(str, score.seeds)) if score.source == "run" else "",
        "scale": score.scale,
        "fidelity": score.fidelity,
        "versions": ", ".join(f"{name} {version}" for name, version in dict(provenance.get("versions", {})).items()),
        "command": provenance.get("command", ""),
        "started": provenance.get("started", ""),
        **{
            f"{key}, in detail" if key in _SCORE_FIELDS else key: value
            for key, value in provenance.items()
            if key not in _SHOWN_ELSEWHERE
        },
    }
    return {key.replace("_", " "): _as_text(value) for key, value in facts.items() if value not in ("", None, {}, [])}


_SCORE_FIELDS = ("protocol", "backbone", "limit", "transform", "precision", "device", "scale", "fidelity")
"""Provenance keys that have the name of a fact above."""


def _build_line(score: Score, z: float | None) -> ScoreLine:
    return ScoreLine(score, describe_source(score), score.provenance.get("stderr"), score.provenance.get("n"), z)


def _facts_by_setting(scores: Iterable[Score]) -> dict[str, dict[str, str]]:
    """Return setting -> its facts; where the metrics of a setting differ in a fact, the fact lists every metric."""
    facts_by_metric: dict[str, dict[str, dict[str, str]]] = {}
    for score in scores:
        facts_by_metric.setdefault(score.setting, {})[score.metric] = collect_facts(score)
    return {setting: _merge_metrics(facts) for setting, facts in facts_by_metric.items()}


def _merge_metrics(facts_by_metric: Mapping[str, Facts]) -> dict[str, str]:
    keys = dict.fromkeys(key for facts in facts_by_metric.values() for key in facts)
    merged = {}
    for key in keys:
        values = {metric: facts[key] for metric, facts in facts_by_metric.items() if key in facts}
        same = len(set(values.values())) == 1 and len(values) == len(facts_by_metric)
        merged[key] = next(iter(values.values())) if same else "; ".join(f"{m}: {text}" for m, text in values.items())
    return merged


def _split_shared(facts_by_setting: Mapping[str, Facts]) -> tuple[Facts, Mapping[str, Facts]]:
    """Return the facts that every setting shares, and setting -> its remaining facts."""
    first = next(iter(facts_by_setting.values()))
    shared = {k: v for k, v in first.items() if all(facts.get(k) == v for facts in facts_by_setting.values())}
    remaining = {
        setting: {key: value for key, value in facts.items() if key not in shared}
        for setting, facts in facts_by_setting.items()
    }
    return shared, {setting: facts for setting, facts in remaining.items() if facts}


def _z_by_measure(report: Report) -> dict[tuple[str, str, str], float]:
    """Return (backbone, setting, metric) -> z of every measure in the ranking."""
    if report.score_table is None:
        return {}
    score_table = report.score_table
    return {
        (backbone.name, *measure): float(score_table.z[i, j])
        for i, backbone in enumerate(score_table.backbones)
        for j, measure in enumerate(score_table.measures)
        if measure in backbone.scores
    }


def _titles(report: Report) -> dict[str, str]:
    return {backbone.name: backbone.title for backbone in report.score_table.backbones} if report.score_table else {}


def _as_text(value: Any) -> str:
    """Return a fact on one line; nested values are in brackets.

    >>> _as_text({"id": "knn", "sizes": [8, 32.5], "data": {"train": 20}})
    'id knn, sizes (8, 32.5), data (train 20)'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_in_brackets(nested)}" for key, nested in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_in_brackets(nested) for nested in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _in_brackets(value: Any) -> str:
    return f"({_as_text(value)})" if isinstance(value, Mapping | list | tuple) else _as_text(value)

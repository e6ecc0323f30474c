"""Where the scores of a page come from: each as a line of a table, and how its setting was run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bob_gauntlet.report.content import Report
from bob_gauntlet.report.html.formatting import source
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.settings import SETTINGS

Facts = Mapping[str, str]
"""What was used -> which, in the order of a page."""

_TOLD = ("stderr", "n", "metrics", "command", "started", "versions", "seeds", "curve", "pictures")
"""Provenance that the table of scores shows, or that has a place of its own."""


@dataclass(frozen=True)
class Line:
    """One score as a line of the table."""

    score: Score
    source: str
    stderr: float | None
    n: int | None
    # in the pool; None where the measure is not ranked or may not be compared
    z: float | None


@dataclass(frozen=True)
class Origin:
    """How the scores of one backbone were got: what holds for every setting, then what differs."""

    backbone: str
    title: str
    lines: tuple[Line, ...]
    shared: Facts
    settings: Mapping[str, Facts]


def origins(report: Report) -> list[Origin]:
    """One a backbone that has scores, in the order of the report."""
    by_name: dict[str, list[Score]] = {name: [] for name in report.own}
    for score in report.scores:
        by_name.setdefault(score.backbone, []).append(score)
    z, titles = _z_scores(report), _titles(report)
    order = {setting: i for i, setting in enumerate(SETTINGS)}
    found = []
    for name, scores in by_name.items():
        ordered = sorted(scores, key=lambda s: order.get(s.setting, len(order)))
        lines = tuple(_line(score, z.get((name, *score.measure))) for score in ordered)
        if lines:
            found.append(Origin(name, titles.get(name, name), lines, *_split(_by_setting(ordered))))
    return found


def facts(score: Score) -> dict[str, str]:
    """Everything that tells how a score was got, as text; what is not known is left out."""
    told = score.provenance
    found: dict[str, Any] = {
        "protocol": score.protocol_hash,
        **{f"data, {role}": fingerprint for role, fingerprint in score.datasets.items()},
        "transform": score.transform,
        "precision": score.precision,
        "device": score.device,
        "backbone": score.backbone_fingerprint,
        "limit": score.cut,
        "seeds": ", ".join(map(str, score.seeds)) if score.source == "run" else "",
        "scale and fidelity": f"{score.scale}, {score.fidelity}",
        "versions": ", ".join(f"{name} {version}" for name, version in dict(told.get("versions", {})).items()),
        "command": told.get("command", ""),
        "started": told.get("started", ""),
        **{f"{key}, in detail" if key in _FIELDS else key: value for key, value in told.items() if key not in _TOLD},
    }
    return {key.replace("_", " "): _text(value) for key, value in found.items() if value not in ("", None, {}, [])}


_FIELDS = ("protocol", "backbone", "limit", "transform", "precision", "device")
"""Provenance that goes by the name of a fact above."""


def _line(score: Score, z: float | None) -> Line:
    return Line(score, source(score), score.provenance.get("stderr"), score.provenance.get("n"), z)


def _by_setting(scores: Iterable[Score]) -> dict[str, dict[str, str]]:
    """Setting -> facts; one on which its metrics differ is told by metric."""
    grouped: dict[str, dict[str, dict[str, str]]] = {}
    for score in scores:
        grouped.setdefault(score.setting, {})[score.metric] = facts(score)
    return {setting: _joined(metrics) for setting, metrics in grouped.items()}


def _joined(metrics: Mapping[str, Facts]) -> dict[str, str]:
    keys = dict.fromkeys(key for told in metrics.values() for key in told)
    joined = {}
    for key in keys:
        told = {metric: own[key] for metric, own in metrics.items() if key in own}
        same = len(set(told.values())) == 1 and len(told) == len(metrics)
        joined[key] = next(iter(told.values())) if same else "; ".join(f"{m}: {text}" for m, text in told.items())
    return joined


def _split(settings: Mapping[str, Facts]) -> tuple[Facts, Mapping[str, Facts]]:
    """What every setting shares, and the rest of each."""
    first = next(iter(settings.values()))
    shared = {k: v for k, v in first.items() if all(told.get(k) == v for told in settings.values())}
    rest = {name: {k: v for k, v in told.items() if k not in shared} for name, told in settings.items()}
    return shared, {name: told for name, told in rest.items() if told}


def _z_scores(report: Report) -> dict[tuple[str, str, str], float]:
    """(backbone, setting, metric) -> z, of every measure in the ranking."""
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


def _text(value: Any) -> str:
    """A fact on one line, its parts after each other.

    >>> _text({"id": "knn", "sizes": [8, 32.5], "data": {"train": 20}})
    'id knn, sizes (8, 32.5), data (train 20)'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_part(own)}" for key, own in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_part(own) for own in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _part(value: Any) -> str:
    return f"({_text(value)})" if isinstance(value, Mapping | list | tuple) else _text(value)

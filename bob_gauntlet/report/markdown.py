"""A report as a Markdown page for a pull request: the ranking, what changed, every score, and how each was got."""

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from bob_gauntlet.ranking.changes import Change
from bob_gauntlet.ranking.comparison import Comparison
from bob_gauntlet.report.content import Report, SettingOutcome
from bob_gauntlet.report.layout import cell, render
from bob_gauntlet.scores.score import METRICS, Score


def page(report: Report) -> str:
    """The page; ends with a line break. What comes from a user's names cannot leave its table cell."""
    parts = ["# bob-gauntlet report"]
    if report.ranking is not None and report.ranking.measures:
        parts += ["## Ranking", render(report.ranking, "markdown")]
    parts += [text for name, found in report.versus.items() for text in _versus(name, found)]
    if report.changes:
        parts += [f"## What changed since {report.since}", _changes(report.changes)]
    if missed := "\n".join(_missed(report.outcomes)):
        parts += ["## Without a score", missed]
    parts += ["## Scores", _scores(report.scores) if report.scores else "Nothing was measured."]
    if report.scores:
        parts += ["## How they were got", _origins(report.scores)]
    return "\n\n".join(parts) + "\n"


def _versus(name: str, found: Sequence[Comparison]) -> list[str]:
    """A backbone against each other one, folded up: a heading and a table."""
    rows = [
        {
            "against": cell(one.other),
            "gap in z": f"{one.gap:+.2f}",
            "wins": f"{one.wins:.0%}",
            "measures": str(one.measures),
            "datasets": str(one.datasets),
            "p over datasets": "–" if one.p_datasets is None else f"{one.p_datasets:.3f}",
            "p over test examples": "–" if one.p_examples is None else f"{one.p_examples:.3f}",
        }
        for one in found
    ]
    table = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
    title = f"<summary>{cell(name)} against each other one (p corrected by Holm's method)</summary>"
    return [f"<details>{title}", table, "</details>"] if rows else []


def _changes(changes: Sequence[Change]) -> str:
    words = {True: "better", False: "worse", None: ""}
    rows = [
        {
            "backbone": cell(c.backbone),
            "setting": c.setting,
            "metric": c.metric,
            "before": "–" if c.before is None else f"{c.before:.4g}",
            "after": "–" if c.after is None else f"{c.after:.4g}",
            "change": "" if c.delta is None else f"{c.delta:+.3g}",
            "": c.why_not or words[c.better],
        }
        for c in changes
    ]
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def _missed(outcomes: Sequence[SettingOutcome]) -> Iterator[str]:
    """Skipped and failed settings by reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for found in outcomes:
        if found.outcome in ("skipped", "failed"):
            reasons.setdefault((found.outcome, found.reason), []).append(f"{found.setting} of {found.backbone}")
    for (outcome, reason), who in reasons.items():
        yield f"- {outcome}: {cell(', '.join(who))}: {cell(reason)}"


def _scores(scores: Sequence[Score]) -> str:
    rows = [
        {
            "backbone": cell(s.backbone),
            "setting": s.setting,
            "metric": s.metric,
            "value": f"{s.value:.4g}",
            "standard error": f"{error:.2g}" if (error := s.provenance.get("stderr")) is not None else "",
            "n": s.provenance.get("n", ""),
            "unit": METRICS[s.metric].unit,
        }
        for s in scores
    ]
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def _origins(scores: Sequence[Score]) -> str:
    """A line a setting: protocol, data, transform, device, versions; or the printed tables."""
    seen: dict[tuple[str, str], Score] = {}
    for score in scores:
        seen.setdefault((score.backbone, score.setting), score)
    return "\n".join(f"- {cell(s.backbone)}, {s.setting}: {_origin(s)}" for s in seen.values())


def _origin(score: Score) -> str:
    if score.source != "run":
        return f"published, {score.source}"
    return (
        f"protocol {score.protocol_hash}, backbone {score.backbone_fingerprint}, {score.transform}, {score.precision}, "
        f"{cell(score.device)}"
        + (f", {score.cut}" if score.cut else "")
        + f", {score.provenance.get('started', '')}, {_versions(score)}"
    )


def _versions(score: Score) -> str:
    versions = score.provenance.get("versions", {})
    return ", ".join(f"{name} {versions[name]}" for name in ("bob-gauntlet", "torch", "timm") if name in versions)

"""A report as Markdown for a pull request: ranking, changes, every score, and how each score was measured."""

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from bob_gauntlet.ranking.changes import Change
from bob_gauntlet.ranking.comparison import Comparison
from bob_gauntlet.report.content import Report, SettingOutcome
from bob_gauntlet.report.layout import escape_cell, render
from bob_gauntlet.scores.score import METRICS, Score


def render_markdown(report: Report) -> str:
    """Return the report as Markdown that ends with a line break. Names given by users are escaped."""
    parts = ["# bob-gauntlet report"]
    if report.ranking is not None and report.ranking.measures:
        parts += ["## Ranking", render(report.ranking, "markdown")]
    parts += [text for name, comparisons in report.versus.items() for text in _versus_section(name, comparisons)]
    if report.changes:
        parts += [f"## What changed since {report.since}", _changes_table(report.changes)]
    if unscored := "\n".join(_unscored_lines(report.outcomes)):
        parts += ["## Settings without a score", unscored]
    parts += ["## Scores", _scores_table(report.scores) if report.scores else "Nothing was measured."]
    if report.scores:
        parts += ["## How the scores were measured", _provenance_list(report.scores)]
    return "\n\n".join(parts) + "\n"


def _versus_section(name: str, comparisons: Sequence[Comparison]) -> list[str]:
    """Return a folded section that compares backbone `name` with every other one; empty without comparisons."""
    rows = [
        {
            "other backbone": escape_cell(comparison.other),
            "difference in z": f"{comparison.gap:+.2f}",
            "wins": f"{comparison.wins:.0%}",
            "measures": str(comparison.measures),
            "datasets": str(comparison.datasets),
            "p (datasets)": _format_p_value(comparison.p_datasets),
            "p (test examples)": _format_p_value(comparison.p_examples),
        }
        for comparison in comparisons
    ]
    table = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
    title = f"{escape_cell(name)} against every other backbone (p-values corrected by Holm's method)"
    return [f"<details><summary>{title}</summary>", table, "</details>"] if rows else []


def _format_p_value(p: float | None) -> str:
    return "–" if p is None else f"{p:.3f}"


def _changes_table(changes: Sequence[Change]) -> str:
    words = {True: "better", False: "worse", None: ""}
    rows = [
        {
            "backbone": escape_cell(change.backbone),
            "setting": change.setting,
            "metric": change.metric,
            "before": "–" if change.before is None else f"{change.before:.4g}",
            "after": "–" if change.after is None else f"{change.after:.4g}",
            "change": "" if change.delta is None else f"{change.delta:+.3g}",
            "": change.why_not or words[change.better],
        }
        for change in changes
    ]
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def _unscored_lines(outcomes: Sequence[SettingOutcome]) -> Iterator[str]:
    """Yield a line per reason with the settings that were skipped or failed for it."""
    settings_by_reason: dict[tuple[str, str], list[str]] = {}
    for each in outcomes:
        if each.outcome in ("skipped", "failed"):
            settings_by_reason.setdefault((each.outcome, each.reason), []).append(f"{each.setting} of {each.backbone}")
    for (outcome, reason), settings in settings_by_reason.items():
        yield f"- {outcome}: {escape_cell(', '.join(settings))}: {escape_cell(reason)}"


def _scores_table(scores: Sequence[Score]) -> str:
    rows = [
        {
            "backbone": escape_cell(score.backbone + f" ({score.partial})" * bool(score.partial)),
            "setting": score.setting,
            "metric": score.metric,
            "value": f"{score.value:.4g}",
            "standard error": f"{error:.2g}" if (error := score.provenance.get("stderr")) is not None else "",
            "n": score.provenance.get("n", ""),
            "unit": METRICS[score.metric].unit,
        }
        for score in scores
    ]
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def _provenance_list(scores: Sequence[Score]) -> str:
    """Return a list with one line per backbone and setting that says how its scores were measured or where printed."""
    first_scores: dict[tuple[str, str], Score] = {}
    for score in scores:
        first_scores.setdefault((score.backbone, score.setting), score)
    return "\n".join(
        f"- {escape_cell(score.backbone)}, {score.setting}: {_describe_provenance(score)}"
        for score in first_scores.values()
    )


def _describe_provenance(score: Score) -> str:
    if score.source != "run":
        return f"published, {score.source}"
    return (
        f"protocol {score.protocol_hash}, backbone {score.backbone_fingerprint}, {score.transform}, {score.precision}, "
        f"{escape_cell(score.device)}"
        + "".join(f", {text}" for text in (score.cut, score.partial) if text)
        + f", {score.provenance.get('started', '')}, {_describe_versions(score)}"
    )


def _describe_versions(score: Score) -> str:
    versions = score.provenance.get("versions", {})
    return ", ".join(f"{name} {versions[name]}" for name in ("bob-gauntlet", "torch", "timm") if name in versions)

"""A session as a Markdown page: the ranking, every score, and how each was got."""

from collections.abc import Sequence

from tabulate import tabulate

from bob_gauntlet.report.layout import render
from bob_gauntlet.report.ranking import Ranking
from bob_gauntlet.scores import METRICS, Score


def page(ranking: Ranking | None, scores: Sequence[Score]) -> str:
    """The page; ends with a line break."""
    parts = ["# bob-gauntlet report"]
    if ranking is not None and ranking.measures:
        parts += ["## Ranking", render(ranking, "markdown")]
    parts += ["## Scores", _scores(scores) if scores else "Nothing was measured."]
    if scores:
        parts += ["## How they were got", _origins(scores)]
    return "\n\n".join(parts) + "\n"


def _scores(scores: Sequence[Score]) -> str:
    rows = [
        {
            "backbone": s.backbone,
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
    """A line a setting: protocol, data, transform, device, versions."""
    seen: dict[tuple[str, str], Score] = {}
    for score in scores:
        seen.setdefault((score.backbone, score.setting), score)
    return "\n".join(
        f"- {s.backbone}, {s.setting}: protocol {s.protocol_hash}, backbone {s.backbone_fingerprint}, "
        f"{s.transform}, {s.precision}, {s.device}"
        + (f", first {s.limit} examples" if s.limit else "")
        + f", {s.provenance.get('started', '')}, {_versions(s)}"
        for s in seen.values()
    )


def _versions(score: Score) -> str:
    versions = score.provenance.get("versions", {})
    return ", ".join(f"{name} {versions[name]}" for name in ("bob-gauntlet", "torch", "timm") if name in versions)

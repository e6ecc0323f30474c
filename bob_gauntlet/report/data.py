"""A report as plain data: JSON with everything that it says, CSV with a row a score."""

import csv
import io
import json
from dataclasses import asdict
from typing import Any

import numpy as np

from bob_gauntlet import __version__
from bob_gauntlet.report.content import Report
from bob_gauntlet.report.layout import footnotes, record
from bob_gauntlet.scores.score import METRICS

COLUMNS = ("backbone", "shown_as", "own", "task", "setting", "metric", "value", "unit", "z", "stderr", "n", "source")


def as_json(report: Report) -> str:
    """Ranking, scores with their provenance, comparisons, changes, outcomes; no NaN."""
    ranking = report.ranking
    content: dict[str, Any] = {
        "bob_gauntlet": __version__,
        "created": report.created,
        "command": report.command,
        "backbones": list(report.own),
        "pool": ranking and {"name": ranking.pool, "hash": ranking.pool_hash, "scale": ranking.scale},
        "ranking": [record(row) for row in ranking.rows] if ranking else [],
        "notes": footnotes(ranking) if ranking else [],
        "versus": {name: [asdict(one) for one in found] for name, found in report.versus.items()},
        "since": report.since,
        "changes": [{**asdict(c), "delta": c.delta, "better": c.better} for c in report.changes],
        "outcomes": [asdict(outcome) for outcome in report.outcomes],
        "scores": [score.to_dict() for score in report.scores],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(report: Report) -> str:
    """A row a score: those of the pool's members and of the own backbones over the ranked measures, then the others."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    ranked = set()
    if report.score_table is not None:
        for backbone, z in zip(report.score_table.backbones, report.score_table.z, strict=True):
            for measure, value in zip(report.score_table.measures, z, strict=True):
                if measure in backbone.scores:
                    ranked.add((backbone.name, measure))
                    writer.writerow(
                        _cells(backbone.scores[measure], backbone.name, backbone.title, backbone.highlighted, value)
                    )
    for score in report.scores:
        if (score.backbone, score.measure) not in ranked:
            writer.writerow(_cells(score, score.backbone, score.backbone, True, np.nan))
    return text.getvalue()


def _cells(score: Any, name: str, title: str, own: bool, z: float) -> dict[str, Any]:
    return {
        "backbone": name,
        "shown_as": title,
        "own": own,
        "task": score.task,
        "setting": score.setting,
        "metric": score.metric,
        "value": repr(score.value),
        "unit": METRICS[score.metric].unit,
        "z": "" if np.isnan(z) else repr(float(z)),
        "stderr": score.provenance.get("stderr", ""),
        "n": score.provenance.get("n", ""),
        "source": score.source,
    }

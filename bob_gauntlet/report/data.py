"""A report as plain data: JSON with its whole content, CSV with one row per score."""

import csv
import io
import json
from dataclasses import asdict
from typing import Any

import numpy as np

from bob_gauntlet import __version__
from bob_gauntlet.report.content import Report
from bob_gauntlet.report.layout import collect_footnotes, ranking_record
from bob_gauntlet.scores.score import METRICS, Score

COLUMNS = ("backbone", "shown_as", "own", "task", "setting", "metric", "value", "unit", "z", "stderr", "n", "source")


def as_json(report: Report) -> str:
    """Return the report as JSON: ranking, scores with provenance, comparisons, changes, outcomes. It holds no NaN."""
    ranking = report.ranking
    content: dict[str, Any] = {
        "bob_gauntlet": __version__,
        "created": report.created,
        "command": report.command,
        "backbones": list(report.backbones),
        "pool": ranking and {"name": ranking.pool, "hash": ranking.pool_hash, "scale": ranking.scale},
        "ranking": [ranking_record(row) for row in ranking.rows] if ranking else [],
        "notes": collect_footnotes(ranking) if ranking else [],
        "versus": {name: [asdict(each) for each in comparisons] for name, comparisons in report.versus.items()},
        "since": report.since,
        "changes": [{**asdict(change), "delta": change.delta, "better": change.better} for change in report.changes],
        "outcomes": [asdict(outcome) for outcome in report.outcomes],
        "scores": [score.to_dict() for score in report.scores],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(report: Report) -> str:
    """Return the report as CSV with one row per score.

    First come the ranked measures of the pool's members and of the user's backbones, then all other scores.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    ranked = set()
    if report.score_table is not None:
        for backbone, z_scores in zip(report.score_table.backbones, report.score_table.z, strict=True):
            for measure, z in zip(report.score_table.measures, z_scores, strict=True):
                if measure in backbone.scores:
                    ranked.add((backbone.name, measure))
                    score = backbone.scores[measure]
                    writer.writerow(_csv_row(score, backbone.name, backbone.title, is_own=backbone.highlighted, z=z))
    for score in report.scores:
        if (score.backbone, score.measure) not in ranked:
            writer.writerow(_csv_row(score, score.backbone, score.backbone, is_own=True, z=np.nan))
    return text.getvalue()


def _csv_row(score: Score, name: str, title: str, *, is_own: bool, z: float) -> dict[str, Any]:
    return {
        "backbone": name,
        "shown_as": title,
        "own": is_own,
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

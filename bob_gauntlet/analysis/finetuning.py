"""The gain of end-to-end fine-tuning over a frozen backbone (paper, Figure 2), for transformers and CNNs."""

from collections.abc import Iterator

import numpy as np

from bob_gauntlet.analysis import figures
from bob_gauntlet.analysis.members import architecture_kind, pretrained
from bob_gauntlet.analysis.result import AnalysisOptions, Finding, PublishedFigure, compare_axis, table
from bob_gauntlet.ranking.score_table import ScoreTable

AXES = {"Det": (-2.5, 0.0, 2.5), "Seg": (-2.5, 0.0, 2.5), "OOD-Det": (0.0, 1.0, 2.0)}
"""Ticks of the three panels of Figure 2."""


def fine_tuning(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Tabulate the fine-tuned z minus the frozen z, a table for each panel, and the means of transformers and CNNs."""
    panels = dict(figures.fine_tuning_gains(pretrained(score_table)))
    if not panels:
        return Finding((), (f"pool {score_table.pool.name} has no dataset that is scored both fine-tuned and frozen",))
    means = []
    for panel, gains in panels.items():
        by_kind = {
            kind: [gain.gain for gain in gains if architecture_kind(gain.backbone.about) == kind]
            for kind in ("transformer", "CNN")
        }
        a, b = (float(np.mean(values)) if values else float("nan") for values in by_kind.values())
        means.append((panel, a, len(by_kind["transformer"]), b, len(by_kind["CNN"]), a - b))
    columns = {
        "panel": "",
        "transformers": "+.2f",
        "n (transformers)": "",
        "CNNs": "+.2f",
        "n (CNNs)": "",
        "difference": "+.2f",
    }
    tables = [table("Mean of fine-tuned z minus frozen z", columns, means)]
    columns = {"backbone": "", "kind": "", "fine-tuned": "+.2f", "frozen": "+.2f", "difference": "+.2f"}
    for panel, gains in panels.items():
        rows = [(g.backbone.title, architecture_kind(g.backbone.about), g.finetuned, g.frozen, g.gain) for g in gains]
        tables.append(table(f"{panel}: fine-tuned z minus frozen z", columns, rows))
    return Finding(tuple(tables))


def published_fine_tuning(score_table: ScoreTable) -> Iterator[PublishedFigure]:
    """Compare the axes of Figure 2; the values of its points are not printed."""
    for panel, gains in figures.fine_tuning_gains(pretrained(score_table)):
        task = panel.split(",")[0]
        if task in AXES:
            values = [gain.gain for gain in gains]
            yield compare_axis(f"fine-tuned z minus frozen z, {task}", "Figure 2", AXES[task], values)

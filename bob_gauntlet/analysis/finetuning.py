"""What end-to-end fine-tuning adds to a frozen backbone (paper, Figure 2), for transformers and CNNs."""

from collections.abc import Iterator

import numpy as np

from bob_gauntlet.analysis import figures
from bob_gauntlet.analysis.members import kind, pretrained
from bob_gauntlet.analysis.result import AnalysisOptions, Finding, Published, compare_axis, table
from bob_gauntlet.ranking.score_table import ScoreTable

AXES = {"Det": (-2.5, 0.0, 2.5), "Seg": (-2.5, 0.0, 2.5), "OOD-Det": (0.0, 1.0, 2.0)}
"""Ticks of the three panels of Figure 2."""


def fine_tuning(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """z fine-tuned less z frozen, a table a panel, and the means of transformers and CNNs."""
    panels = dict(figures.fine_tuning_gains(pretrained(score_table)))
    if not panels:
        return Finding((), (f"pool {score_table.pool.name} has no measure both fine-tuned and frozen",))
    means = []
    for panel, found in panels.items():
        gains = {k: [d.gain for d in found if kind(d.backbone.about) == k] for k in ("transformer", "CNN")}
        a, b = (float(np.mean(gain)) if gain else float("nan") for gain in gains.values())
        means.append((panel, a, len(gains["transformer"]), b, len(gains["CNN"]), a - b))
    columns = {
        "panel": "",
        "transformers": "+.2f",
        "n (transformers)": "",
        "CNNs": "+.2f",
        "n (CNNs)": "",
        "difference": "+.2f",
    }
    tables = [table("Mean of z fine-tuned less z frozen", columns, means)]
    columns = {"backbone": "", "kind": "", "fine-tuned": "+.2f", "frozen": "+.2f", "difference": "+.2f"}
    for panel, found in panels.items():
        rows = [(d.backbone.title, kind(d.backbone.about), d.finetuned, d.frozen, d.gain) for d in found]
        tables.append(table(f"{panel}: z fine-tuned less z frozen", columns, rows))
    return Finding(tuple(tables))


def published_fine_tuning(score_table: ScoreTable) -> Iterator[Published]:
    """The axes of Figure 2, whose points have no printed values."""
    for panel, found in figures.fine_tuning_gains(pretrained(score_table)):
        task = panel.split(",")[0]
        if task in AXES:
            yield compare_axis(f"fine-tuned less frozen, {task}", "Figure 2", AXES[task], [d.gain for d in found])

"""Is a more accurate backbone better calibrated: Table 10 of the paper, and what it concludes in section 5."""

from collections.abc import Iterator

import numpy as np

from bob_gauntlet.analysis.association import pearson, spearman
from bob_gauntlet.analysis.members import SELF_SUPERVISED, candidates, lacking, pretrained, style, value
from bob_gauntlet.analysis.pairing import differences
from bob_gauntlet.analysis.result import UNEXPLAINED, AnalysisOptions, Finding, Published, Table, compare, table
from bob_gauntlet.ranking.score_table import ScoreTable

PAPER = "calibration-finetune@imagenet-1k"
"""The setting of Table 10."""

METRICS = ("top1", "ce", "ece")

COLUMNS = {"accuracy (%)": ".2f", "CE (nats)": ".3f", "ECE": ".3f"}
"""What the three measures are called here."""

PRINTED = {"CE": "-0.8278", "ECE": "-0.4876"}
"""Correlation with accuracy, section 5; both with a p-value under .05."""


def calibration(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Accuracy, cross-entropy and ECE of classifiers, and how they go together."""
    members = pretrained(score_table)
    setting = setting_of(score_table)
    values = three(members, options)
    order = [i for i in np.argsort(values[:, 2], kind="stable") if np.isfinite(values[i]).all()]
    if not order:
        return Finding((), (*lacking(score_table, [(setting, metric) for metric in METRICS]),))
    rows = []
    for column, name in enumerate(PRINTED, 1):
        r, rho = (how(values[:, 0], values[:, column]) for how in (pearson, spearman))
        rows.append((f"accuracy and {name}", r.r, r.p, rho.r, rho.p, r.n))
    columns = {"": "", "Pearson's r": ".4f", "p of r": ".2g", "Spearman's rho": ".4f", "p of rho": ".2g", "n": ""}
    each = [(members.backbones[i].title, *values[i]) for i in order]
    tables = (table("Correlation", columns, rows), table("Best calibrated first", {"backbone": ""} | COLUMNS, each))
    note = () if setting == PAPER else (f"over {setting}, which is not the paper's",)
    return Finding((*tables, *_by_pretraining(candidates(score_table), options)), note)


def setting_of(score_table: ScoreTable) -> str:
    """The paper's setting, or the first one of calibration that the pool has, fine-tuned if there is one."""
    found = [setting for setting, metric in score_table.measures if metric == "ce"]
    return PAPER if PAPER in found or not found else min(found, key=lambda setting: "finetune" not in setting)


def three(score_table: ScoreTable, options: AnalysisOptions) -> np.ndarray:
    """(B, 3) of accuracy (%), cross-entropy (nats) and ECE; NaN where missing."""
    measures = [(setting_of(score_table), metric) for metric in METRICS]
    rows = [[value(score_table, e, measure, options) for measure in measures] for e in score_table.backbones]
    return np.array(rows, np.float64).reshape(len(rows), 3)


def published_calibration(score_table: ScoreTable) -> Iterator[Published]:
    """The two Pearson coefficients and their p-values."""
    values = three(pretrained(score_table), AnalysisOptions())
    for column, (name, paper) in enumerate(PRINTED.items(), 1):
        found = pearson(values[:, 0], values[:, column])
        yield compare(f"Pearson's r of accuracy and {name}", "section 5", paper, found.r)
        why = "" if found.p < 0.05 else UNEXPLAINED
        yield Published(f"p of accuracy and {name}", "section 5", "under 0.05", f"{found.p:.2g}", why)


def _by_pretraining(score_table: ScoreTable, options: AnalysisOptions) -> Iterator[Table]:
    """Means of self-supervised and supervised backbones, and pairs of one architecture."""
    values = three(score_table, options)
    rows = []
    for which in (SELF_SUPERVISED, "supervised"):
        inside = values[[style(e.about) == which for e in score_table.backbones]]
        inside = inside[np.isfinite(inside).all(axis=1)]
        if len(inside):
            rows.append((which, *inside.mean(axis=0), len(inside)))
    yield table("Means by pretraining", {"pretraining": ""} | COLUMNS | {"n": ""}, rows)
    named = dict(zip([e.name for e in score_table.backbones], values, strict=True))
    yield from differences(score_table.backbones, named, {name: "+" + form for name, form in COLUMNS.items()})

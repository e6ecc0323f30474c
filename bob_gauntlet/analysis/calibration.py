"""Is a more accurate backbone better calibrated? Table 10 of the paper and its conclusions in section 5."""

from collections.abc import Iterator

import numpy as np

from bob_gauntlet.analysis.association import pearson, spearman
from bob_gauntlet.analysis.members import (
    SELF_SUPERVISED,
    candidates,
    comparable_value,
    note_missing,
    pretrained,
    pretraining_style,
)
from bob_gauntlet.analysis.pairing import difference_tables
from bob_gauntlet.analysis.result import UNEXPLAINED, AnalysisOptions, Finding, PublishedFigure, Table, compare, table
from bob_gauntlet.ranking.score_table import ScoreTable

PAPER_SETTING = "calibration-finetune@imagenet-1k"
"""The setting of Table 10."""

METRICS = ("top1", "ce", "ece")

COLUMNS = {"accuracy (%)": ".2f", "CE (nats)": ".3f", "ECE": ".3f"}
"""Column titles and formats of METRICS."""

PRINTED = {"CE": "-0.8278", "ECE": "-0.4876"}
"""Pearson's correlation with accuracy in section 5; the paper gives p < .05 for both."""


def calibration(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Tabulate accuracy, cross-entropy and ECE of classifiers, and how they correlate."""
    members = pretrained(score_table)
    setting = calibration_setting(score_table)
    values = calibration_values(members, options)
    order = [i for i in np.argsort(values[:, 2], kind="stable") if np.isfinite(values[i]).all()]
    if not order:
        return Finding((), (*note_missing(score_table, [(setting, metric) for metric in METRICS]),))
    rows = []
    for column, name in enumerate(PRINTED, 1):
        r, rho = (correlate(values[:, 0], values[:, column]) for correlate in (pearson, spearman))
        rows.append((f"accuracy and {name}", r.r, r.p, rho.r, rho.p, r.n))
    columns = {"": "", "Pearson's r": ".4f", "p of r": ".2g", "Spearman's rho": ".4f", "p of rho": ".2g", "n": ""}
    sorted_rows = [(members.backbones[i].title, *values[i]) for i in order]
    tables = (
        table("Correlation", columns, rows),
        table("Best calibrated first", {"backbone": ""} | COLUMNS, sorted_rows),
    )
    notes = () if setting == PAPER_SETTING else (f"measured on {setting}; the paper uses {PAPER_SETTING}",)
    return Finding((*tables, *_by_pretraining(candidates(score_table), options)), notes)


def calibration_setting(score_table: ScoreTable) -> str:
    """Return the paper's setting, else the pool's first fine-tuned calibration setting, else its first one."""
    settings = [setting for setting, metric in score_table.measures if metric == "ce"]
    if PAPER_SETTING in settings or not settings:
        return PAPER_SETTING
    return min(settings, key=lambda setting: "finetune" not in setting)


def calibration_values(score_table: ScoreTable, options: AnalysisOptions) -> np.ndarray:
    """Return a (B, 3) array of accuracy (%), cross-entropy (nats) and ECE; NaN for missing values."""
    measures = [(calibration_setting(score_table), metric) for metric in METRICS]
    rows = [
        [comparable_value(score_table, backbone, measure, options) for measure in measures]
        for backbone in score_table.backbones
    ]
    return np.array(rows, np.float64).reshape(len(rows), 3)


def published_calibration(score_table: ScoreTable) -> Iterator[PublishedFigure]:
    """Compare the two Pearson coefficients and their p-values with section 5."""
    values = calibration_values(pretrained(score_table), AnalysisOptions())
    for column, (name, paper) in enumerate(PRINTED.items(), 1):
        result = pearson(values[:, 0], values[:, column])
        yield compare(f"Pearson's r of accuracy and {name}", "section 5", paper, result.r)
        why = "" if result.p < 0.05 else UNEXPLAINED
        yield PublishedFigure(f"p of accuracy and {name}", "section 5", "under 0.05", f"{result.p:.2g}", why)


def _by_pretraining(score_table: ScoreTable, options: AnalysisOptions) -> Iterator[Table]:
    """Yield the means of self-supervised and supervised backbones, and the differences of pairs of one architecture."""
    values = calibration_values(score_table, options)
    rows = []
    for style in (SELF_SUPERVISED, "supervised"):
        of_style = values[[pretraining_style(backbone.about) == style for backbone in score_table.backbones]]
        complete = of_style[np.isfinite(of_style).all(axis=1)]
        if len(complete):
            rows.append((style, *complete.mean(axis=0), len(complete)))
    yield table("Means by pretraining", {"pretraining": ""} | COLUMNS | {"n": ""}, rows)
    values_by_name = dict(zip([backbone.name for backbone in score_table.backbones], values, strict=True))
    formats = {name: "+" + form for name, form in COLUMNS.items()}
    yield from difference_tables(score_table.backbones, values_by_name, formats)

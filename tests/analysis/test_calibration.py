"""The calibration analysis, compared with Table 10 and section 5 of the paper."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from bob_gauntlet.analysis.calibration import METRICS, PAPER_SETTING
from bob_gauntlet.analysis.registry import analyse
from bob_gauntlet.pools.folder import BackboneRow
from bob_gauntlet.ranking.score_table import ScoreTable
from tests.helpers.analysis_tables import BuildTable, column

MEASURES = tuple((PAPER_SETTING, metric) for metric in METRICS)


def test_the_two_pearson_coefficients_are_exact(paper: ScoreTable) -> None:
    """The coefficients are those of section 5: r = -0.8278 and r = -0.4876, "p-values under 0.05"."""
    analysis = analyse("calibration", paper)
    assert [(p.paper, p.why) for p in analysis.published] == [
        ("-0.8278", ""), ("under 0.05", ""), ("-0.4876", ""), ("under 0.05", ""),
    ]  # fmt: skip
    first = analysis.tables[0]
    assert column(first, "Pearson's r") == pytest.approx(
        {"accuracy and CE": -0.8278, "accuracy and ECE": -0.4876}, abs=5e-5
    )
    assert column(first, "n") == {"accuracy and CE": 20, "accuracy and ECE": 20}  # rows of Table 10
    # computed by an independent script from Table 10
    assert column(first, "p of r") == pytest.approx({"accuracy and CE": 6.6e-6, "accuracy and ECE": 0.029}, rel=0.02)
    assert column(first, "Spearman's rho") == pytest.approx(
        {"accuracy and CE": -0.858, "accuracy and ECE": -0.456}, abs=5e-4
    )


def test_rows_are_those_of_table_10(paper: ScoreTable) -> None:
    """The rows are sorted by calibration error, hold the figures of Table 10, and Spearman's p is SciPy's."""
    first, table = analyse("calibration", paper).tables[:2]
    records = {r["backbone"]: r for r in table.records()}
    row = records["ResNet-50 VICReg (IN-1k)"]
    assert (row["accuracy (%)"], row["CE (nats)"], row["ECE"]) == (78.77, 1.11, 0.21)  # Table 10, row 2
    eces = [float(str(r["ECE"])) for r in table.records()]
    assert eces == sorted(eces)
    values = np.array([row[1:] for row in table.rows], np.float64)
    assert column(first, "p of rho")["accuracy and ECE"] == pytest.approx(spearmanr(values[:, 0], values[:, 2]).pvalue)


def test_self_supervised_backbones_are_worse_calibrated(paper: ScoreTable) -> None:
    """The mean and each pair confirm section 5.

    "Self-supervised pretraining typically leads to inferior calibration".
    """
    means, pairs = analyse("calibration", paper).tables[2:]
    ece = column(means, "ECE")
    assert float(str(ece["self-supervised"])) > float(str(ece["supervised"]))
    assert column(means, "n") == {"self-supervised": 9, "supervised": 10}  # Table 10 without its MiDaS row
    assert all(float(str(gap)) > 0 for gap in column(pairs, "ECE").values())


def test_means_and_differences_by_hand(build_table: BuildTable) -> None:
    """Means leave out a backbone without accuracy and a reference; the pair's difference is worked out by hand."""
    given = {"x": (80.0, 0.9, 0.2), "s": (70.0, 1.0, 0.1), "t": (60.0, 1.3, 0.3)}
    values = {n: dict(zip(MEASURES, v, strict=True)) for n, v in given.items()}
    values["half"] = {MEASURES[1]: 9.0}
    rows = [BackboneRow("t", "reference", "t", model="m", method="supervised", data="d")]
    rows += [
        BackboneRow(n, "candidate", n, model="m", method=m, data="d") for n, m in (("x", "DINO"), ("s", "supervised"))
    ]
    correlation, table, means, pairs = analyse("calibration", build_table(values, *rows)).tables
    assert [row[0] for row in table.rows] == ["s", "x", "t"]
    assert correlation.rows[0][-1] == 3
    assert means.rows == (("self-supervised", 80.0, 0.9, 0.2, 1), ("supervised", 70.0, 1.0, 0.1, 1))
    assert pairs.rows == (("x", "s", "equal", 10.0, pytest.approx(-0.1), pytest.approx(0.1)),)


def test_a_pool_without_calibration_says_so(build_table: BuildTable) -> None:
    """A pool without calibration gets one note that names the missing measures."""
    photos = ("linear-probe@photos", "top1")
    analysis = analyse("calibration", build_table({n: {photos: v} for n, v in (("a", 1.0), ("b", 2.0), ("c", 3.0))}))
    assert analysis.tables == ()
    assert len(analysis.notes) == 1
    assert all(" ".join(measure) in analysis.notes[0] for measure in MEASURES)


def test_a_pool_with_another_setting_is_analysed_on_that(mini: ScoreTable) -> None:
    """Pool mini is analysed on its own fine-tuned network, and a note names the setting."""
    analysis = analyse("calibration", mini)
    assert analysis.notes == (
        "measured on calibration-finetune@photos; the paper uses calibration-finetune@imagenet-1k",
    )
    lite = column(analysis.tables[1], "accuracy (%)")["efficientnet_lite0"]
    [score] = [
        rows["calibration-finetune@photos", "top1"]
        for name, rows in mini.pool.scores.items()
        if name == "efficientnet_lite0"
    ]
    assert float(str(lite)) == pytest.approx(score.value)

"""The correlation of tasks: Spearman's matrix, and Figure 1."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from bob_gauntlet.analysis.correlation import correlation_matrix, without
from bob_gauntlet.analysis.members import pretrained
from bob_gauntlet.analysis.registry import analyse
from bob_gauntlet.analysis.result import AnalysisOptions, Table, ticks_fit
from bob_gauntlet.errors import UsageError
from bob_gauntlet.ranking.score_table import ScoreTable
from tests.helpers.analysis_tables import BuildTable, bundled_table, column

PHOTOS, RET = ("linear-probe@photos", "top1"), ("retrieval@photos-instances", "map")
LATENCY = ("efficiency@noise", "latency")


def rho(tables: tuple[Table, ...], name: str = "rho") -> dict[str, object]:
    """Return pair of tasks -> rho."""
    return column(tables[-1], name)


def test_the_papers_coefficients_and_ours(paper: ScoreTable) -> None:
    """Ours is compared with .49, .8 and "typically > 0.8" of section 5, and each difference is explained."""
    analysis = analyse("correlation", paper)
    lines = {p.what: p for p in analysis.published}
    assert [(p.paper, p.ours) for p in analysis.published] == [
        ("0.49", "0.512"), ("0.8", "0.71"), ("typically > 0.8", "> 0.8 in 4 of 15 pairs"),
    ]  # fmt: skip
    assert all(p.why for p in lines.values())
    assert lines["rho of Cls and Ret"].why.endswith("rho is .45")  # EARLIER, below
    # Table 11's frozen detectors, and Table 12's fine-tuned ones, against Cls
    assert "0.08 frozen and 0.90 fine-tuned" in lines["rho of two tasks"].why
    assert rho(analysis.tables)["Cls / Ret"] == pytest.approx(0.512, abs=5e-4)
    assert rho(analysis.tables, "rho w/o")["Cls / Ret"] == pytest.approx(0.713, abs=5e-4)


# computed by an independent script from the tables as printed, over every printed row but Random Init
EARLIER = {"Cls / Ret": 0.45, "Det / Seg": 1.00, "Cls / OOD-Cls": 0.91, "Det / OOD-Det": 0.89, "Cls / Det": 0.50}


def test_printed_figures_agree_with_an_independent_script() -> None:
    """With figures as printed, the coefficients equal those of an independent script to two digits."""
    printed = bundled_table("paper", "printed")
    analysis = analyse("correlation", printed, AnalysisOptions(errata="printed"))
    coefficients = rho(analysis.tables)
    assert {pair: round(float(str(coefficients[pair])), 2) for pair in EARLIER} == EARLIER
    assert analysis.published == ()


def test_members_are_those_with_both_tasks_and_no_random_ones(paper: ScoreTable) -> None:
    """Random initialisations are left out; MiDaS is in: it is no candidate, but the paper leaves it out by name."""
    analysis = analyse("correlation", paper)
    z = {t: paper.mean_z(t) for t in ("Cls", "Ret")}
    keep = [
        np.isfinite(z["Cls"][i] + z["Ret"][i]) and "random:" not in backbone.name
        for i, backbone in enumerate(paper.backbones)
    ]
    expected = spearmanr(z["Cls"][keep], z["Ret"][keep])
    assert rho(analysis.tables)["Cls / Ret"] == pytest.approx(expected.statistic)
    assert rho(analysis.tables, "p")["Cls / Ret"] == pytest.approx(expected.pvalue)
    assert rho(analysis.tables, "n")["Cls / Ret"] == sum(keep) == 19
    assert any("midas" in backbone.name for backbone, k in zip(paper.backbones, keep, strict=True) if k)


def test_the_matrix_is_symmetric_with_ones(paper: ScoreTable) -> None:
    """The matrix is symmetric, has ones on its diagonal, and equals the table of pairs."""
    square, less, pairs = analyse("correlation", paper).tables
    values = np.array([row[1:] for row in square.rows], np.float64)
    np.testing.assert_array_equal(values, values.T)
    np.testing.assert_array_equal(np.diag(values), 1)
    assert column(square, "Ret")["Cls"] == column(pairs, "rho")["Cls / Ret"]
    assert column(less, "Ret")["Cls"] == column(pairs, "rho w/o")["Cls / Ret"]


@given(st.permutations(range(6)), st.permutations(range(6)))
def test_a_monotone_change_of_a_measure_changes_no_rho(a: list[int], b: list[int]) -> None:
    """With one measure a task, x -> exp(x) changes no coefficient."""
    score_table = bundled_table("mini")
    changed = [
        _of_values(score_table, {PHOTOS: f(np.array(a, float)), RET: f(np.array(b, float))}) for f in (np.array, np.exp)
    ]
    first, second = (correlation_matrix(s, ["Cls", "Ret"])["Cls", "Ret"] for s in changed)
    assert (first.r, first.p, first.n) == pytest.approx((second.r, second.p, second.n))


def _of_values(score_table: ScoreTable, values: Mapping[tuple[str, str], np.ndarray]) -> ScoreTable:
    """Return a score table of six backbones with these values, over these measures only."""
    scores = [
        {m: replace(score_table.backbones[0].scores[m], value=float(v[i])) for m, v in values.items()} for i in range(6)
    ]
    backbones = tuple(
        replace(backbone, scores=s) for backbone, s in zip(score_table.backbones[:6], scores, strict=True)
    )
    return replace(score_table, backbones=backbones, measures=tuple(values))


def test_leaving_out_by_name_and_by_method(paper: ScoreTable) -> None:
    """Names and methods match in any case of letters; MAE is two rows, MiDaS two."""
    members = pretrained(paper)
    gone = {backbone.name for backbone in members.backbones} - {
        backbone.name for backbone in without(members, ("mae", "MiDaS")).backbones
    }
    assert {n.rsplit(".", 1)[1] for n in gone} == {"mae", "midas"}
    assert len(gone) == 4
    one = without(members, ("resnet50.dino",))
    assert len(one.backbones) == len(members.backbones) - 1
    with pytest.raises(UsageError, match=r"--without MEA: no backbone .* did you mean mae"):
        without(members, ("MEA",))


def test_a_table_of_candidates_has_no_midas_to_leave_out(paper: ScoreTable) -> None:
    """In a score table of candidates only, MAE alone is left out, because MiDaS is not in it."""
    analysis = analyse("correlation", ScoreTable.from_pool(paper.pool))
    assert analysis.tables[1].title == "Spearman's rho of tasks, without MAE"


def test_only_the_papers_pool_leaves_out_backbones_by_default(mini: ScoreTable, paper: ScoreTable) -> None:
    """Only the paper's pool has backbones that are left out by default, and the user's choice replaces them."""
    assert len(analyse("correlation", mini).tables) == 2
    small = bundled_table("paper-small")
    assert "swinv2_tiny_window16_256.midas" in {backbone.name for backbone in small.backbones}
    assert len(analyse("correlation", small).tables) == 2
    analysis = analyse("correlation", paper, AnalysisOptions(without=("resnet50.dino",)))
    assert analysis.tables[1].title == "Spearman's rho of tasks, without resnet50.dino"
    assert analysis.published == analyse("correlation", paper).published


def test_figure_1_is_every_member_with_both_tasks(paper: ScoreTable) -> None:
    """Figure 1 includes random initialisations, as its legend does; rho is shown without and with them."""
    analysis = analyse("tasks", paper)
    first = analysis.tables[0]
    assert column(first, "n") == {
        "Cls, Det / pretrained": 20,
        "Cls, Det / random initialisations too": 27,
        "Cls, OOD-Cls / pretrained": 15,
        "Cls, OOD-Cls / random initialisations too": 18,
    }
    assert column(first, "rho")["Cls, Det / pretrained"] == rho(analyse("correlation", paper).tables)["Cls / Det"]
    assert [len(t.rows) for t in analysis.tables[1:]] == [27, 18]
    index = [backbone.title for backbone in paper.backbones].index("ViT-Base random")
    assert column(analysis.tables[1], "Cls")["ViT-Base random"] == pytest.approx(paper.mean_z("Cls")[index])


def test_the_axes_of_figure_1(paper: ScoreTable) -> None:
    """Three of the printed ranges of ticks fit, and the left axis fits the figures as printed, without errata."""
    lines = {p.what: p for p in analyse("tasks", paper).published}
    assert [p.why == "" for p in lines.values()] == [False, True, False, True]
    assert lines["left, Cls"].paper == "axis ticks -2 to 1"
    printed = bundled_table("paper", "printed")
    points = analyse("tasks", printed, AnalysisOptions(errata="printed")).tables[1]
    values = [float(str(x)) for x in column(points, "Cls").values()]
    assert f"values are {min(values):.2f} to {max(values):.2f}, which fit" in lines["left, Cls"].why
    assert ticks_fit((-2, -1.5, -1, -0.5, 0, 0.5, 1), min(values), max(values))


def test_missing_tasks_are_named(build_table: BuildTable) -> None:
    """Each missing task gets one note, and there is no table."""
    only = build_table({n: {PHOTOS: v} for n, v in (("a", 1.0), ("b", 2.0), ("c", 3.0))})
    analysis = analyse("tasks", only)
    assert (analysis.tables, analysis.notes) == ((), ("pool made has no Det", "pool made has no OOD-Cls"))
    alone = analyse("correlation", only)
    assert alone.published == ()

"""Do tasks agree: Spearman's matrix, and Figure 1."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

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
from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.ranking.score_table import ScoreTable
from tests.analysis.conftest import Made, column

PHOTOS, RET = ("linear-probe@photos", "top1"), ("retrieval@photos-instances", "map")
LATENCY = ("efficiency@noise", "latency")


def rho(tables: tuple[Table, ...], name: str = "rho") -> dict[str, object]:
    """Pair of tasks -> rho."""
    return column(tables[-1], name)


def test_the_papers_coefficients_and_ours(paper: ScoreTable) -> None:
    """.49, .8 and "typically > 0.8" of section 5; ours of the errata-applied tables, and each difference says why."""
    found = analyse("correlation", paper)
    lines = {p.what: p for p in found.published}
    assert [(p.paper, p.ours) for p in found.published] == [
        ("0.49", "0.512"), ("0.8", "0.71"), ("typically > 0.8", "> 0.8 in 4 of 15 pairs"),
    ]  # fmt: skip
    assert all(p.why for p in lines.values())
    assert lines["rho of Cls and Ret"].why.endswith("rho is .45")  # EARLIER, below
    # Table 11's frozen detectors, and Table 12's fine-tuned ones, against Cls
    assert "0.08 frozen and 0.90 fine-tuned" in lines["rho of two tasks"].why
    assert rho(found.tables)["Cls / Ret"] == pytest.approx(0.512, abs=5e-4)
    assert rho(found.tables, "rho w/o")["Cls / Ret"] == pytest.approx(0.713, abs=5e-4)


# PROTOCOLS 5.6: worked out by an earlier script from the tables as printed, over every printed row but Random Init
EARLIER = {"Cls / Ret": 0.45, "Det / Seg": 1.00, "Cls / OOD-Cls": 0.91, "Det / OOD-Det": 0.89, "Cls / Det": 0.50}


def test_as_printed_an_independent_script_is_met() -> None:
    """The same five coefficients, to two digits."""
    printed = ScoreTable.from_pool(load_pool("paper", Path("nowhere"), "printed"), members=True)
    found = analyse("correlation", printed, AnalysisOptions(errata="printed"))
    ours = rho(found.tables)
    assert {pair: round(float(str(ours[pair])), 2) for pair in EARLIER} == EARLIER
    assert found.published == ()


def test_members_are_those_with_both_tasks_and_no_random_ones(paper: ScoreTable) -> None:
    """MiDaS is in: it is no candidate, and the paper takes it out by name."""
    found = analyse("correlation", paper)
    z = {t: paper.mean_z(t) for t in ("Cls", "Ret")}
    keep = [np.isfinite(z["Cls"][i] + z["Ret"][i]) and "random:" not in e.name for i, e in enumerate(paper.backbones)]
    expected = spearmanr(z["Cls"][keep], z["Ret"][keep])
    assert rho(found.tables)["Cls / Ret"] == pytest.approx(expected.statistic)
    assert rho(found.tables, "p")["Cls / Ret"] == pytest.approx(expected.pvalue)
    assert rho(found.tables, "n")["Cls / Ret"] == sum(keep) == 19
    assert any("midas" in e.name for e, k in zip(paper.backbones, keep, strict=True) if k)


def test_the_matrix_is_symmetric_with_ones(paper: ScoreTable) -> None:
    """And holds what the pairs hold."""
    square, less, pairs = analyse("correlation", paper).tables
    values = np.array([row[1:] for row in square.rows], np.float64)
    np.testing.assert_array_equal(values, values.T)
    np.testing.assert_array_equal(np.diag(values), 1)
    assert column(square, "Ret")["Cls"] == column(pairs, "rho")["Cls / Ret"]
    assert column(less, "Ret")["Cls"] == column(pairs, "rho w/o")["Cls / Ret"]


@cache
def once() -> ScoreTable:
    """The pool mini, read once for all draws."""
    return ScoreTable.from_pool(load_pool("mini", Path("nowhere")), members=True)


@given(st.permutations(range(6)), st.permutations(range(6)))
def test_a_monotone_change_of_a_measure_changes_no_rho(a: list[int], b: list[int]) -> None:
    """One measure a task: x -> exp(x) leaves every coefficient."""
    score_table = once()
    changed = [
        _of_values(score_table, {PHOTOS: f(np.array(a, float)), RET: f(np.array(b, float))}) for f in (np.array, np.exp)
    ]
    first, second = (correlation_matrix(s, ["Cls", "Ret"])["Cls", "Ret"] for s in changed)
    assert (first.r, first.p, first.n) == pytest.approx((second.r, second.p, second.n))


def _of_values(score_table: ScoreTable, values: Mapping[tuple[str, str], np.ndarray]) -> ScoreTable:
    """Six entrants with these values, over these measures only."""
    scores = [
        {m: replace(score_table.backbones[0].scores[m], value=float(v[i])) for m, v in values.items()} for i in range(6)
    ]
    backbones = tuple(replace(e, scores=s) for e, s in zip(score_table.backbones[:6], scores, strict=True))
    return replace(score_table, backbones=backbones, measures=tuple(values))


def test_leaving_out_by_name_and_by_method(paper: ScoreTable) -> None:
    """In any case of letters; MAE is two rows, MiDaS two."""
    members = pretrained(paper)
    gone = {e.name for e in members.backbones} - {e.name for e in without(members, ("mae", "MiDaS")).backbones}
    assert {n.rsplit(".", 1)[1] for n in gone} == {"mae", "midas"}
    assert len(gone) == 4
    one = without(members, ("resnet50.dino",))
    assert len(one.backbones) == len(members.backbones) - 1
    with pytest.raises(UsageError, match=r"--without MEA: no backbone .* did you mean mae"):
        without(members, ("MEA",))


def test_a_standing_of_candidates_alone_has_no_midas_to_leave_out(paper: ScoreTable) -> None:
    """Only MAE is."""
    found = analyse("correlation", ScoreTable.from_pool(paper.pool))
    assert found.tables[1].title == "Spearman's rho of tasks, without MAE"


def test_only_the_papers_pool_leaves_out_by_itself(mini: ScoreTable, paper: ScoreTable) -> None:
    """And what the user names goes before the paper's choice."""
    assert len(analyse("correlation", mini).tables) == 2
    small = ScoreTable.from_pool(load_pool("paper-small", Path("nowhere")), members=True)
    assert "swinv2_tiny_window16_256.midas" in {e.name for e in small.backbones}
    assert len(analyse("correlation", small).tables) == 2
    found = analyse("correlation", paper, AnalysisOptions(without=("resnet50.dino",)))
    assert found.tables[1].title == "Spearman's rho of tasks, without resnet50.dino"
    assert found.published == analyse("correlation", paper).published


def test_figure_1_is_every_member_with_both_tasks(paper: ScoreTable) -> None:
    """Its legend has Random Init; rho is there without them and with."""
    found = analyse("tasks", paper)
    first = found.tables[0]
    assert column(first, "n") == {
        "Cls, Det / pretrained": 20,
        "Cls, Det / random initialisations too": 27,
        "Cls, OOD-Cls / pretrained": 15,
        "Cls, OOD-Cls / random initialisations too": 18,
    }
    assert column(first, "rho")["Cls, Det / pretrained"] == rho(analyse("correlation", paper).tables)["Cls / Det"]
    assert [len(t.rows) for t in found.tables[1:]] == [27, 18]
    index = [e.title for e in paper.backbones].index("ViT-Base random")
    assert column(found.tables[1], "Cls")["ViT-Base random"] == pytest.approx(paper.mean_z("Cls")[index])


def test_the_axes_of_figure_1(paper: ScoreTable) -> None:
    """Ticks of the printed figure; the left one fits with the figures as printed, errata and all."""
    lines = {p.what: p for p in analyse("tasks", paper).published}
    assert [p.why == "" for p in lines.values()] == [False, True, False, True]
    assert lines["left, Cls"].paper == "axis ticks -2 to 1"
    printed = ScoreTable.from_pool(load_pool("paper", Path("nowhere"), "printed"), members=True)
    points = analyse("tasks", printed, AnalysisOptions(errata="printed")).tables[1]
    values = [float(str(x)) for x in column(points, "Cls").values()]
    assert f"values are {min(values):.2f} to {max(values):.2f}, which fit" in lines["left, Cls"].why
    assert ticks_fit((-2, -1.5, -1, -0.5, 0, 0.5, 1), min(values), max(values))


def test_missing_tasks_are_named(made: Made) -> None:
    """A line each, and no table."""
    only = made({n: {PHOTOS: v} for n, v in (("a", 1.0), ("b", 2.0), ("c", 3.0))})
    found = analyse("tasks", only)
    assert (found.tables, found.notes) == ((), ("pool made has no Det", "pool made has no OOD-Cls"))
    alone = analyse("correlation", only)
    assert alone.published == ()

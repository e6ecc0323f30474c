"""The analyses of size, data, speed and budgets."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from bob_gauntlet.analysis import figures
from bob_gauntlet.analysis.members import candidates, overall_mean_z
from bob_gauntlet.analysis.registry import analyse
from bob_gauntlet.analysis.result import AnalysisOptions
from bob_gauntlet.pools.folder import BackboneRow
from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.ranking.score_table import ALL, MIN_COVERAGE, ScoreTable
from bob_gauntlet.scores.score import Score
from tests.helpers.analysis_tables import BuildTable, bundled_table, column

PHOTOS, RATIO = ("linear-probe@photos", "top1"), ("efficiency@noise", "batch_ratio")
LATENCY_RATIO = ("efficiency@noise", "latency_ratio")


def test_scale_is_compared_with_the_paper(paper: ScoreTable) -> None:
    """Section 5 prints .58 and .72 for ViTs, .35 and .33 for CNNs; ours is shown under four definitions of "ViT"."""
    analysis = analyse("scale", paper)
    assert [(p.paper, p.ours) for p in analysis.published] == [
        ("0.58", "0.365"), ("0.35", "0.589"), ("0.72", "0.707"), ("0.33", "-0.109"),
    ]  # fmt: skip
    assert "rho is 0.28 to 0.64" in analysis.published[0].why
    assert "rho is 0.61 to 0.72" in analysis.published[2].why
    assert all("three more tiny CNNs" in analysis.published[i].why for i in (1, 3))
    rho = {k: round(float(str(v)), 2) for k, v in column(analysis.tables[0], "rho").items()}
    assert {k: v for k, v in rho.items() if k.endswith("parameters / any coverage")} == {
        "ViT / parameters / any coverage": 0.28,
        "ViT and Swin / parameters / any coverage": 0.58,
        "CNN / parameters / any coverage": 0.59,
    }


def test_scale_is_spearman_of_all_with_the_zoos_counts(paper: ScoreTable) -> None:
    """For CNNs, rho equals SciPy's of mean z and the zoo's number of pretraining images."""
    ranked = candidates(paper)
    rows = [(backbone, z) for backbone, z in zip(ranked.backbones, ranked.mean_z(ALL), strict=True)]
    cnn = [
        (float(backbone.about.images), z)
        for backbone, z in rows
        if backbone.about.family in ("ResNet", "ConvNeXt") and np.isfinite(z)
    ]
    table = analyse("scale", paper).tables[0]
    key = "CNN / pretraining images / any coverage"
    assert column(table, "rho")[key] == pytest.approx(spearmanr(*zip(*cnn, strict=True)).statistic)
    assert column(table, "n")[key] == len(cnn) == 8


def test_the_papers_speed_is_not_printed(paper: ScoreTable) -> None:
    """Rho = -0.41 of section 5 has no counterpart; the explanation says that GFLOPs are used instead."""
    analysis = analyse("speed", paper)
    (line,) = analysis.published
    assert (line.paper, line.ours) == ("-0.41", "–")
    assert line.why.startswith("the paper prints no throughput; with GFLOPs instead")
    assert line.why.endswith("+0.42")
    assert column(analysis.tables[0], "rho") == {"GFLOPs of one image (not throughput)": pytest.approx(0.416, abs=5e-4)}
    assert analysis.notes[0].startswith("pool paper has no throughput")


def test_speed_is_one_over_the_ratio(build_table: BuildTable) -> None:
    """Rho is Spearman's of All and of the throughput in times the reference's: the quickest backbone has the most."""
    values = {n: {PHOTOS: z, RATIO: r} for n, z, r in (("a", 1.0, 0.5), ("b", 3.0, 2.0), ("c", 2.0, 4.0))}
    score_table = build_table(values)
    analysis = analyse("speed", score_table)
    expected = spearmanr(overall_mean_z(score_table), [1 / values[b.name][RATIO] for b in score_table.backbones])
    assert column(analysis.tables[0], "rho")["throughput"] == pytest.approx(expected.statistic)
    assert column(analysis.tables[1], "throughput, in times a ResNet-18's") == {"b": 0.5, "c": 0.25, "a": 2.0}


def test_known_gflops_take_precedence_over_measured_ones(build_table: BuildTable) -> None:
    """GFLOPs in a row of backbones.csv take precedence over measured ones."""
    values = {n: {PHOTOS: v, ("efficiency@noise", "flops"): 10 * v} for n, v in (("a", 1.0), ("b", 2.0), ("c", 3.0))}
    analysis = analyse("speed", build_table(values, BackboneRow("a", "candidate", "a", gflops="99")))
    assert column(analysis.tables[1], "GFLOPs") == {"c": 30.0, "b": 20.0, "a": 99.0}
    front = analyse("budget", build_table(values, BackboneRow("a", "candidate", "a", gflops="99"))).tables[0]
    assert column(front, "GFLOPs of one image") == {"b": 20.0, "c": 30.0}


def create_ratios(devices: list[str]) -> dict[str, list[Score]]:
    """Return own batch ratios of three members of the paper's pool."""
    names = ("resnet50.a1_in1k", "convnext_base.fb_in1k", "vit_base_patch16_224.dino")
    return {
        name: [
            Score(setting=RATIO[0], metric=RATIO[1], task="Eff", value=value, backbone=name, scale="paper",
                  device=device)
        ]
        for name, value, device in zip(names, (1.0, 3.0, 2.0), devices, strict=True)
    }  # fmt: skip


def test_own_throughput_of_the_papers_backbones_joins_their_z() -> None:
    """Own throughputs on any CPU are correlated with the pool's z of All, and one on a GPU is left out.

    The z of All is -.25, .41 and .20: fast backbones are weak, so rho = -1.
    """
    pool = load_pool("paper", Path("nowhere"))
    own_scores = create_ratios(["cpu: a", "cpu: a", "cpu: b"])
    score_table = ScoreTable.from_pool(pool, own_scores, members=True)
    analysis = analyse("speed", score_table, AnalysisOptions(own_scores=own_scores))
    assert column(analysis.tables[0], "rho")["throughput"] == pytest.approx(-1)
    assert column(analysis.tables[0], "n")["throughput"] == 3
    assert analysis.notes == ()
    assert analysis.published == analyse("speed", ScoreTable.from_pool(pool, members=True)).published
    own_scores = create_ratios(["cpu: a", "cpu: b", "NVIDIA"])
    score_table = ScoreTable.from_pool(pool, own_scores, members=True)
    analysis = analyse("speed", score_table, AnalysisOptions(own_scores=own_scores))
    assert column(analysis.tables[0], "n")["throughput"] == 2
    [note] = analysis.notes
    assert note.startswith("throughput is that on a CPU; ")


def test_the_budget_of_the_paper(paper: ScoreTable) -> None:
    """No latency is printed, and without a limit on cost ConvNeXt-Base IN-21k is the best, as in Table 2's last row."""
    analysis = analyse("budget", paper)
    costs = ("parameters (M)", "GFLOPs of one image")
    assert [t.title for t in analysis.tables] == [f"Pareto front: mean z against {cost}" for cost in costs]
    assert analysis.notes == ("latency, in times a ResNet-18's: not known for any backbone of pool paper",)
    titles = {backbone.title for backbone in candidates(paper).backbones}
    for table in analysis.tables:
        assert {row[0] for row in table.rows} <= titles
        everything = {k: v for k, v in column(table, "All").items() if v is not None}
        assert list(everything)[-1] == "ConvNeXt-Base supervised (IN-21k)"
        assert list(everything.values()) == sorted(everything.values(), key=float)  # type: ignore[arg-type]


def test_every_cost_has_a_front(build_table: BuildTable) -> None:
    """There are fronts for parameters, GFLOPs and latency, without the column Eff, which is the cost itself."""
    values = {n: {PHOTOS: v, LATENCY_RATIO: v} for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0))}
    rows = [BackboneRow(n, "candidate", n, params="3", gflops="1") for n in values]
    analysis = analyse("budget", build_table(values, *rows))
    assert len(analysis.tables) == 3
    assert analysis.notes == ()
    assert analysis.tables[2].columns == ("backbone", "latency, in times a ResNet-18's", "All", "Cls")


def test_mini_has_fronts_of_every_task(mini: ScoreTable) -> None:
    """The first front of pool mini has a column for each task but Eff."""
    analysis = analyse("budget", mini)
    assert analysis.tables[0].columns[2:] == ("All", "Cls", "Det", "Seg", "Ret", "OOD-Cls", "OOD-Det", "Adv", "Cal")


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(-3, 3)), min_size=3, max_size=8))
def test_the_front_equals_its_definition(points: list[tuple[int, int]]) -> None:
    """The front equals its definition, checked over every pair of points."""
    score_table = bundled_table("mini")
    first = score_table.backbones[0]
    backbones = [
        replace(first, name=f"b{i}", highlighted=True, about=BackboneRow(f"b{i}", "candidate", "", params=str(cost)),
                scores={PHOTOS: replace(first.scores[PHOTOS], value=float(value))})
        for i, (cost, value) in enumerate(points)
    ]  # fmt: skip
    drawn = replace(score_table, backbones=tuple(backbones), measures=(PHOTOS,))
    assert (drawn.coverage(ALL) >= MIN_COVERAGE).all()
    front = {p.backbone.name for p in figures.cost_points(drawn, "params", ALL) if p.front}
    expected = {
        f"b{i}" for i, (c, v) in enumerate(points) if not any(d <= c and w >= v and (d, w) != (c, v) for d, w in points)
    }
    assert front == expected
    shown = analyse("budget", drawn).tables[0]
    assert {name for name, z in column(shown, "All").items() if z is not None} == expected


def test_an_unknown_size_is_not_zero(build_table: BuildTable) -> None:
    """Three ViTs of known size and one of unknown size: n is 3, and the unknown size does not count as zero."""
    sizes = {"a": "10", "b": "20", "c": "30", "d": ""}
    rows = [BackboneRow(n, "candidate", n, family="ViT", params=size) for n, size in sizes.items()]
    table = analyse("scale", build_table({n: {PHOTOS: float(i)} for i, n in enumerate(sizes)}, *rows)).tables[0]
    assert column(table, "n")["ViT / parameters / any coverage"] == 3
    assert column(table, "rho")["ViT / parameters / any coverage"] == pytest.approx(1)


def test_unknown_counts_are_named(build_table: BuildTable) -> None:
    """Notes say that parameters, images and families are unknown."""
    analysis = analyse("scale", build_table({n: {PHOTOS: v} for n, v in (("a", 1.0), ("b", 2.0), ("c", 3.0))}))
    assert analysis.tables == ()
    assert analysis.notes == (
        "pool made does not give the number of parameters of any backbone",
        "pool made does not give the number of pretraining images of any backbone",
        "left out, since not known as a transformer or a CNN: a, b, c",
    )

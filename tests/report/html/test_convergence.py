"""Tests of the convergence charts: positions of points, colours and labels, and no section without training."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.report.content import Report, gather
from bob_gauntlet.report.html.convergence import (
    DOTTED_EPOCHS,
    HEIGHT,
    LABEL_GAP,
    WIDTH,
    ConvergenceChart,
    build_convergence,
    choose_ticks,
    spread_labels,
)
from bob_gauntlet.report.html.page import render_html
from bob_gauntlet.report.html.provenance import collect_facts
from bob_gauntlet.report.writing import write
from bob_gauntlet.scores.score import Score

EVIL = "<script>alert(1)</script>"
CURVE = {"epoch": [1, 2, 4], "validation": [41.0, 57.25, 80.0], "loss": [2.9, 1.8, 0.5]}


def trained(backbone: str = EVIL, curve: Any = CURVE, setting: str = "finetune@eurosat") -> Score:
    """Return a score with a training curve in its provenance."""
    provenance = {"curve": curve} if curve else {}
    return Score(setting=setting, metric="top1", task="Cls", value=80.0, backbone=backbone, provenance=provenance)


def report(*scores: Score) -> Report:
    """Return a report on these scores, without a pool."""
    return gather(None, {name: [s for s in scores if s.backbone == name] for name in (s.backbone for s in scores)})


def charts(*scores: Score) -> tuple[ConvergenceChart, ...]:
    """Return the charts of these scores."""
    convergence = build_convergence(report(*scores))
    assert convergence is not None
    return convergence.charts


def test_points_are_placed_by_epoch_and_score() -> None:
    """Epochs go from 0 to 4 and values from 40 to 80: 57.25 is 22.75 / 40 of the height below the top."""
    [chart] = charts(trained())
    [curve] = chart.curves
    assert [point.x for point in curve.points] == [WIDTH / 4, WIDTH / 2, WIDTH]
    assert [point.y for point in curve.points] == pytest.approx([HEIGHT * 39 / 40, HEIGHT * 22.75 / 40, 0])
    assert curve.points[1].tip == f"{EVIL}\nepoch 2: validation 57.25%\ntraining loss 1.8"
    assert chart.x_ticks == tuple((WIDTH * epoch / 4, str(epoch)) for epoch in range(5))
    assert chart.y_ticks == tuple((HEIGHT * (80 - level) / 40, str(level)) for level in (40, 50, 60, 70, 80))


def test_a_network_is_drawn_where_it_was_trained() -> None:
    """Shifts, attacks, calibration and other metrics do not repeat a curve; a shift with its own training has one."""
    original = trained("mine", setting="finetune@photos")
    top5 = replace(original, metric="top5")
    hard = replace(original, setting="ood-finetune@photos-hard", task="OOD-Cls")
    attack = replace(original, setting="adversarial-finetune-eps1@photos", task="Adv")
    other_curve = {**CURVE, "loss": [3.0, 2.0, 1.0]}
    fonts = replace(hard, setting="ood-finetune@fonts-digits", provenance={"curve": other_curve})
    built = charts(attack, hard, original, top5, fonts)
    assert [chart.about.partition(":")[0] for chart in built] == ["finetune", "ood-finetune"]
    assert [len(chart.curves) for chart in built] == [1, 1]


def test_each_setting_has_a_chart_that_names_the_validation_images() -> None:
    """Charts are in the order of the scores and name dataset, protocol and metric."""
    built = charts(trained(), trained(setting="finetune@flowers-102"), trained("other"))
    assert [chart.title for chart in built] == ["eurosat", "flowers-102"]
    assert [len(chart.curves) for chart in built] == [2, 1]
    assert built[0].about == "finetune: top1 in % on validation images, never on the test images"


def test_backbones_share_the_axes_of_a_chart() -> None:
    """The longest schedule ends at the right edge, and the lowest value of all curves sets the start of the axis."""
    [chart] = charts(trained("a"), trained("b", {"epoch": [2], "validation": [12.0], "loss": [3.0]}))
    assert chart.curves[1].points[0].x == WIDTH / 2
    assert chart.y_ticks[0] == (HEIGHT, "0")


def test_colours_and_numbers_distinguish_backbones() -> None:
    """Numbers are positions in the report, as in the profile, with or without a curve; the seventh line is dashed."""
    names = [f"b{i}" for i in range(8)]
    convergence = build_convergence(report(*(trained(name, CURVE if name != "b1" else None) for name in names)))
    assert convergence is not None
    legend = convergence.legend
    assert [number for number, _, _ in legend] == ["1", "3", "4", "5", "6", "7", "8"]
    assert [name for _, _, name in legend] == [name for name in names if name != "b1"]
    assert len({colour for _, colour, _ in legend}) == 7
    assert ["dashed" in colour for _, colour, _ in legend] == [False] * 5 + [True] * 2
    assert [(curve.number, curve.colour) for curve in convergence.charts[0].curves] == [entry[:2] for entry in legend]


def test_a_single_backbone_has_the_report_colour_and_no_legend() -> None:
    """The colour is the one that marks a backbone of the report everywhere on the page."""
    convergence = build_convergence(report(trained()))
    assert convergence is not None
    assert convergence.legend == ()
    [curve] = convergence.charts[0].curves
    assert (curve.number, curve.colour) == ("", "own")


def test_values_that_are_not_finite_are_left_out() -> None:
    """The curve of a diverged training ends at its last finite validation score."""
    nan = math.nan
    [chart] = charts(trained(curve={"epoch": [1, 2, 3], "validation": [5.0, 6.0, nan], "loss": [3.0, nan, nan]}))
    assert len(chart.curves[0].points) == 2
    assert chart.curves[0].points[1].tip.endswith("training loss –")
    assert build_convergence(report(trained(curve={"epoch": [1], "validation": [nan], "loss": [nan]}))) is None
    # a stored score has null in the place of NaN
    [chart] = charts(trained(curve={"epoch": [1, 2], "validation": [5.0, None], "loss": [3.0, None]}))
    assert len(chart.curves[0].points) == 1


@pytest.mark.parametrize(("epochs", "radius"), [(DOTTED_EPOCHS, 3), (DOTTED_EPOCHS + 1, 1)])
def test_many_epochs_have_hidden_dots(epochs: int, radius: int) -> None:
    """The line hides the dots, but the pointer still finds every epoch."""
    curve = {"epoch": list(range(1, epochs + 1)), "validation": [50.0] * epochs, "loss": [1.0] * epochs}
    [chart] = charts(trained(curve=curve))
    assert chart.curves[0].radius == radius
    assert len(chart.curves[0].points) == epochs


def test_the_page_draws_the_curves() -> None:
    """The page has a link to the section, a line per backbone and a dot per epoch, and escapes a hostile name."""
    text = render_html(report(trained(), trained("other")))
    section = text.partition('<section id="convergence"')[2].partition("</section>")[0]
    assert section.count('class="curve-point"') == 6
    assert section.count('class="leader"') == 2
    assert f'd="M{WIDTH / 4:.1f},195.0 {WIDTH / 2:.1f},113.8 {WIDTH:.1f},0.0 "' in section
    assert "never on the test images" in section
    assert "&lt;script&gt;alert(1)&lt;/script&gt;</span>" in section
    assert 'href="#convergence"' in text
    assert EVIL not in text


@pytest.mark.parametrize(
    "curveless",
    [
        report(trained(curve=None)),
        report(trained(curve={"epoch": [], "validation": [], "loss": []})),
        gather(load_pool("paper", Path("nowhere")), {}, highlight=["resnet50.dino"]),
    ],
    ids=["no curve", "no epoch", "published"],
)
def test_without_curves_there_is_no_section(curveless: Report) -> None:
    """Frozen features and published scores have no training curve."""
    assert build_convergence(curveless) is None
    assert 'id="convergence"' not in render_html(curveless)


def test_other_formats_are_written_too(tmp_path: Path) -> None:
    """JSON holds the curve unchanged; the facts of a setting do not repeat it."""
    for suffix in ("md", "csv", "json"):
        write(tmp_path / f"report.{suffix}", report(trained("mine")))
        assert "finetune@eurosat" in (tmp_path / f"report.{suffix}").read_text()
    assert CURVE["validation"] in _lists(json.loads((tmp_path / "report.json").read_text()))
    assert "curve" not in collect_facts(trained())


def _lists(value: Any) -> list[Any]:
    """Return every list inside nested JSON values."""
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return [part for part in parts if isinstance(part, list)] + [nested for part in parts for nested in _lists(part)]


@given(st.floats(0, 100), st.floats(0, 100))
def test_ticks_are_few_and_round_and_enclose_the_values(one: float, other: float) -> None:
    """There are 2 to 6 ticks at equal steps of 1, 2 or 5 times a power of ten, between 0 and 100."""
    low, high = sorted((one, other))
    ticks = choose_ticks(low, high)
    assert 0 <= ticks[0] <= low <= high <= ticks[-1] <= 100
    assert 2 <= len(ticks) <= 6
    [step] = {after - before for before, after in pairwise(ticks)}
    assert step in (1, 2, 5, 10, 20, 50)
    assert all(tick % step == 0 for tick in ticks)


@given(st.lists(st.floats(0, HEIGHT), min_size=1, max_size=15))
@example([199.0, 200.0])
def test_labels_are_spread_in_order_inside_the_plot(wanted: list[float]) -> None:
    """Labels with enough distance stay; the mean height stays unless an edge of the plot is in the way."""
    placed = spread_labels(wanted)
    pairs = sorted(zip(wanted, placed, strict=True))
    heights = sorted(placed)
    assert [height for _, height in pairs] == pytest.approx(heights)
    assert all(after - before >= LABEL_GAP - 1e-6 for before, after in pairwise(heights))
    assert min(placed) >= 0
    assert max(placed) <= HEIGHT + 1e-6
    if min(placed) > 1e-6 and max(placed) < HEIGHT - 1e-6:
        assert sum(placed) == pytest.approx(sum(wanted))
    assert spread_labels(heights) == pytest.approx(heights)

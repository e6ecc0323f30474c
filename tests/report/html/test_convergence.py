"""Convergence curves: points where the epochs say, names that can be told apart, nothing where nothing was trained."""

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
from bob_gauntlet.report.html.convergence import FEW, GAP, HEIGHT, WIDTH, Chart, convergence, spread, ticks
from bob_gauntlet.report.html.page import page
from bob_gauntlet.report.html.provenance import facts
from bob_gauntlet.report.writing import write
from bob_gauntlet.scores.score import Score

EVIL = "<script>alert(1)</script>"
CURVE = {"epoch": [1, 2, 4], "validation": [41.0, 57.25, 80.0], "loss": [2.9, 1.8, 0.5]}


def trained(backbone: str = EVIL, curve: Any = CURVE, setting: str = "finetune@eurosat") -> Score:
    """A score with a curve in its provenance."""
    provenance = {"curve": curve} if curve else {}
    return Score(setting=setting, metric="top1", task="Cls", value=80.0, backbone=backbone, provenance=provenance)


def report(*scores: Score) -> Report:
    """Of these scores, without a pool."""
    return gather(None, {name: [s for s in scores if s.backbone == name] for name in (s.backbone for s in scores)})


def charts(*scores: Score) -> tuple[Chart, ...]:
    """What is drawn of them."""
    found = convergence(report(*scores))
    assert found is not None
    return found.charts


def test_points_stand_where_the_epochs_say() -> None:
    """Epochs from 0 to 4, values from 40 to 80: 57.25 is 22.75 / 40 of the height below the top."""
    [chart] = charts(trained())
    [line] = chart.lines
    assert [knot.x for knot in line.knots] == [WIDTH / 4, WIDTH / 2, WIDTH]
    assert [knot.y for knot in line.knots] == pytest.approx([HEIGHT * 39 / 40, HEIGHT * 22.75 / 40, 0])
    assert line.knots[1].tip == f"{EVIL}\nepoch 2: validation 57.25%\ntraining loss 1.8"
    assert chart.across == tuple((WIDTH * epoch / 4, str(epoch)) for epoch in range(5))
    assert chart.up == tuple((HEIGHT * (80 - level) / 40, str(level)) for level in (40, 50, 60, 70, 80))


def test_a_network_is_drawn_where_it_was_trained() -> None:
    """Not again for its shifts, attacks and calibration, nor for its other metrics; a shift's own training is."""
    own = trained("mine", setting="finetune@photos")
    top5 = replace(own, metric="top5")
    hard = replace(own, setting="ood-finetune@photos-hard", task="OOD-Cls")
    attack = replace(own, setting="adversarial-finetune-eps1@photos", task="Adv")
    other = {**CURVE, "loss": [3.0, 2.0, 1.0]}
    fonts = replace(hard, setting="ood-finetune@fonts-digits", provenance={"curve": other})
    found = charts(attack, hard, own, top5, fonts)
    assert [chart.about.partition(":")[0] for chart in found] == ["finetune", "ood-finetune"]
    assert [len(chart.lines) for chart in found] == [1, 1]


def test_a_chart_a_setting_says_that_it_is_of_validation_images() -> None:
    """In the order of the scores; with dataset, protocol and metric."""
    found = charts(trained(), trained(setting="finetune@flowers-102"), trained("other"))
    assert [chart.title for chart in found] == ["eurosat", "flowers-102"]
    assert [len(chart.lines) for chart in found] == [2, 1]
    assert found[0].about == "finetune: top1 in % on validation images, never the test images"


def test_backbones_share_the_axes_of_a_chart() -> None:
    """The longest schedule ends at the right, the lowest value of all decides where the axis begins."""
    [chart] = charts(trained("a"), trained("b", {"epoch": [2], "validation": [12.0], "loss": [3.0]}))
    assert chart.lines[1].knots[0].x == WIDTH / 2
    assert chart.up[0] == (HEIGHT, "0")


def test_colours_and_numbers_tell_backbones_apart() -> None:
    """Numbers are those of the profile: places in the report, with a curve or not; a seventh line is dashed."""
    names = [f"b{i}" for i in range(8)]
    found = convergence(report(*(trained(name, CURVE if name != "b1" else None) for name in names)))
    assert found is not None
    assert [mark for mark, _, _ in found.keys] == ["1", "3", "4", "5", "6", "7", "8"]
    assert [name for _, _, name in found.keys] == [name for name in names if name != "b1"]
    assert len({colour for _, colour, _ in found.keys}) == 7
    assert ["dashed" in colour for _, colour, _ in found.keys] == [False] * 5 + [True] * 2
    assert [(line.mark, line.colour) for line in found.charts[0].lines] == [key[:2] for key in found.keys]


def test_a_single_backbone_has_its_own_colour_and_no_key() -> None:
    """As everywhere in the page."""
    found = convergence(report(trained()))
    assert found is not None
    assert found.keys == ()
    assert (found.charts[0].lines[0].mark, found.charts[0].lines[0].colour) == ("", "own")


def test_what_is_not_finite_is_left_out() -> None:
    """A training that blew up ends where its last validation score is."""
    nan = math.nan
    [chart] = charts(trained(curve={"epoch": [1, 2, 3], "validation": [5.0, 6.0, nan], "loss": [3.0, nan, nan]}))
    assert len(chart.lines[0].knots) == 2
    assert chart.lines[0].knots[1].tip.endswith("training loss –")
    assert convergence(report(trained(curve={"epoch": [1], "validation": [nan], "loss": [nan]}))) is None


@pytest.mark.parametrize(("epochs", "radius"), [(FEW, 3), (FEW + 1, 1)])
def test_many_epochs_have_no_dots(epochs: int, radius: int) -> None:
    """The line hides them, and they can still be pointed at."""
    curve = {"epoch": list(range(1, epochs + 1)), "validation": [50.0] * epochs, "loss": [1.0] * epochs}
    [chart] = charts(trained(curve=curve))
    assert chart.lines[0].radius == radius
    assert len(chart.lines[0].knots) == epochs


def test_the_page_draws_it() -> None:
    """With its name in the navigation, a line a backbone, a dot an epoch, and a hostile name as text."""
    text = page(report(trained(), trained("other")))
    section = text.partition('<section id="convergence"')[2].partition("</section>")[0]
    assert section.count('class="knot"') == 6
    assert section.count('class="leader"') == 2
    assert f'd="M{WIDTH / 4:.1f},195.0 {WIDTH / 2:.1f},113.8 {WIDTH:.1f},0.0 "' in section
    assert "never the test images" in section
    assert "&lt;script&gt;alert(1)&lt;/script&gt;</span>" in section
    assert 'href="#convergence"' in text
    assert EVIL not in text


@pytest.mark.parametrize(
    "found",
    [
        report(trained(curve=None)),
        report(trained(curve={"epoch": [], "validation": [], "loss": []})),
        gather(load_pool("paper", Path("nowhere")), {}, highlight=["resnet50.dino"]),
    ],
    ids=["no curve", "no epoch", "published"],
)
def test_without_curves_there_is_no_section(found: Report) -> None:
    """Frozen features have none, nor has what is printed."""
    assert convergence(found) is None
    assert 'id="convergence"' not in page(found)


def test_other_formats_do_not_mind(tmp_path: Path) -> None:
    """JSON keeps the curve as it is; what was drawn is not told again among the facts."""
    for suffix in ("md", "csv", "json"):
        write(tmp_path / f"report.{suffix}", report(trained("mine")))
        assert "finetune@eurosat" in (tmp_path / f"report.{suffix}").read_text()
    assert CURVE["validation"] in _lists(json.loads((tmp_path / "report.json").read_text()))
    assert "curve" not in facts(trained())


def _lists(found: Any) -> list[Any]:
    """Every list inside."""
    inside = list(found.values()) if isinstance(found, dict) else found if isinstance(found, list) else []
    return [part for part in inside if isinstance(part, list)] + [own for part in inside for own in _lists(part)]


@given(st.floats(0, 100), st.floats(0, 100))
def test_ticks_are_few_round_and_around(one: float, other: float) -> None:
    """2 to 6 of them at equal distances of 1, 2 or 5 times a power of ten, in 0 to 100."""
    low, high = sorted((one, other))
    found = ticks(low, high)
    assert 0 <= found[0] <= low <= high <= found[-1] <= 100
    assert 2 <= len(found) <= 6
    [step] = {after - before for before, after in pairwise(found)}
    assert step in (1, 2, 5, 10, 20, 50)
    assert all(tick % step == 0 for tick in found)


@given(st.lists(st.floats(0, HEIGHT), min_size=1, max_size=15))
@example([199.0, 200.0])
def test_labels_are_apart_in_order_and_inside(wanted: list[float]) -> None:
    """Those that are apart already stay; sums stay where no edge is in the way."""
    found = spread(wanted)
    pairs = sorted(zip(wanted, found, strict=True))
    heights = sorted(found)
    assert [at for _, at in pairs] == pytest.approx(heights)
    assert all(after - before >= GAP - 1e-6 for before, after in pairwise(heights))
    assert min(found) >= 0
    assert max(found) <= HEIGHT + 1e-6
    if min(found) > 1e-6 and max(found) < HEIGHT - 1e-6:
        assert sum(found) == pytest.approx(sum(wanted))
    assert spread(heights) == pytest.approx(heights)

"""Tests of the reliability diagrams: a bar per confidence bin, and no section without bins."""

from pathlib import Path

import pytest

from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.report.content import Report, gather
from bob_gauntlet.report.html.page import render_html
from bob_gauntlet.report.html.reliability import SIDE, build_reliability_diagrams
from bob_gauntlet.scores.score import Score

EVIL = "<script>alert(1)</script>"
BINS = {"confidence": [0.0, 0.45, 0.9], "accuracy": [0.0, 0.5, 0.75], "count": [0.0, 2.0, 8.0]}


def report(**provenance: object) -> Report:
    """Return a report on one calibration error, without a pool."""
    score = Score(
        setting="calibration-linear-probe@digits", metric="ece", task="Cal", value=0.13, backbone=EVIL,
        provenance=provenance,
    )  # fmt: skip
    return gather(None, {EVIL: [score]})


def test_bars_are_placed_by_confidence_and_accuracy() -> None:
    """Of three bins one is empty; the second bar starts at a third of the width and is half as high as the square."""
    [diagram] = build_reliability_diagrams(report(reliability=BINS))
    assert [round(each.x, 3) for each in diagram.bins] == [round(SIDE / 3, 3), round(2 * SIDE / 3, 3)]
    assert [each.height for each in diagram.bins] == [SIDE / 2, SIDE * 3 / 4]
    assert [each.y + each.height for each in diagram.bins] == [SIDE, SIDE]
    assert [each.share for each in diagram.bins] == [0.25, 1.0]
    assert diagram.bins[1].tip == "confidence 0.90: 75% of 8 images correct"


def test_the_page_draws_the_diagram() -> None:
    """The page has a link to the section and escapes a hostile name."""
    text = render_html(report(reliability=BINS))
    assert text.count('class="bin"') == 2
    assert 'href="#reliability"' in text
    assert EVIL not in text


@pytest.mark.parametrize(
    "without_bins", [report(), gather(load_pool("paper", Path("nowhere")), {}, highlight=["resnet50.dino"])]
)
def test_without_bins_there_is_no_section(without_bins: Report) -> None:
    """Published scores have no bins."""
    assert build_reliability_diagrams(without_bins) == []
    assert 'id="reliability"' not in render_html(without_bins)

"""Reliability curves: bars where the bins say, and nothing where there are no bins."""

from pathlib import Path

import pytest

from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.report.content import Report, gather
from bob_gauntlet.report.html.page import page
from bob_gauntlet.report.html.reliability import SIDE, reliability
from bob_gauntlet.scores.score import Score

EVIL = "<script>alert(1)</script>"
BINS = {"confidence": [0.0, 0.45, 0.9], "accuracy": [0.0, 0.5, 0.75], "count": [0.0, 2.0, 8.0]}


def report(**provenance: object) -> Report:
    """Of one calibration error, without a pool."""
    score = Score(
        setting="calibration-linear-probe@digits", metric="ece", task="Cal", value=0.13, backbone=EVIL,
        provenance=provenance,
    )  # fmt: skip
    return gather(None, {EVIL: [score]})


def test_bars_stand_where_the_bins_say() -> None:
    """Three bins of which one is empty: the second from a third of the way, half as high as the square."""
    [curve] = reliability(report(reliability=BINS))
    assert [round(bar.x, 3) for bar in curve.bars] == [round(SIDE / 3, 3), round(2 * SIDE / 3, 3)]
    assert [bar.height for bar in curve.bars] == [SIDE / 2, SIDE * 3 / 4]
    assert [bar.y + bar.height for bar in curve.bars] == [SIDE, SIDE]
    assert [bar.share for bar in curve.bars] == [0.25, 1.0]
    assert curve.bars[1].tip == "confidence 0.90: right in 75% of 8 images"


def test_the_page_draws_it() -> None:
    """With its name in the navigation, and a hostile name as text."""
    text = page(report(reliability=BINS))
    assert text.count('class="bin"') == 2
    assert 'href="#reliability"' in text
    assert EVIL not in text


@pytest.mark.parametrize(
    "found", [report(), gather(load_pool("paper", Path("nowhere")), {}, highlight=["resnet50.dino"])]
)
def test_without_bins_there_is_no_section(found: Report) -> None:
    """Published figures have none."""
    assert reliability(found) == []
    assert 'id="reliability"' not in page(found)

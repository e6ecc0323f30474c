"""The reliability curves of a page: how often each confidence of a backbone came true."""

from collections.abc import Iterator
from dataclasses import dataclass

from bob_gauntlet.report.content import Report
from bob_gauntlet.scores.score import Score

SIDE = 220
"""Of the square that a curve is drawn in, in px."""


@dataclass(frozen=True)
class Bar:
    """One bin that holds images, in px from the top left corner of the square."""

    x: float
    width: float
    y: float
    height: float
    # of the images that are in this bin, for the strength of its colour
    share: float
    # what hovering says
    tip: str


@dataclass(frozen=True)
class Curve:
    """One calibration setting of one backbone."""

    title: str
    about: str
    bars: tuple[Bar, ...]


def reliability(report: Report) -> list[Curve]:
    """A curve for every calibration error among the scores; those that carry no bins (published ones) have none."""
    found = [s for s in report.scores if s.metric == "ece" and "reliability" in s.provenance]
    return [_curve(score, many=len(report.own) > 1) for score in found]


def _curve(score: Score, *, many: bool) -> Curve:
    protocol, _, dataset = score.setting.partition("@")
    name = f"{score.backbone}, {dataset}" if many else dataset
    return Curve(name, f"{protocol}: calibration error {score.value:.3f}", tuple(_bars(score)))


def _bars(score: Score) -> Iterator[Bar]:
    bins = score.provenance["reliability"]
    width = SIDE / len(bins["count"])
    most = max(bins["count"])
    rows = zip(bins["confidence"], bins["accuracy"], bins["count"], strict=True)
    for place, (confidence, accuracy, count) in enumerate(rows):
        if count:
            tip = f"confidence {confidence:.2f}: right in {accuracy:.0%} of {count:.0f} images"
            yield Bar(place * width, width, SIDE * (1 - accuracy), SIDE * accuracy, count / most, tip)

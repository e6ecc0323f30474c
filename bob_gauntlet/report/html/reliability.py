"""The reliability diagrams of a page: how often predictions of each confidence are correct."""

from collections.abc import Iterator
from dataclasses import dataclass

from bob_gauntlet.report.content import Report
from bob_gauntlet.scores.score import Score

SIDE = 220
"""Side of the square of a diagram, in px."""


@dataclass(frozen=True)
class ConfidenceBin:
    """One confidence bin that holds images, as a bar in px from the top left corner of the square."""

    x: float
    width: float
    y: float
    height: float
    # images in this bin, as a share of those in the fullest bin; sets the strength of the bar's colour
    share: float
    tip: str


@dataclass(frozen=True)
class ReliabilityDiagram:
    """The bins of one backbone in one calibration setting."""

    title: str
    about: str
    bins: tuple[ConfidenceBin, ...]


def build_reliability_diagrams(report: Report) -> list[ReliabilityDiagram]:
    """Build a diagram for every calibration error that carries bins; published scores carry none."""
    scores = [score for score in report.scores if score.metric == "ece" and "reliability" in score.provenance]
    return [_build_diagram(score, name_backbone=len(report.backbones) > 1) for score in scores]


def _build_diagram(score: Score, *, name_backbone: bool) -> ReliabilityDiagram:
    protocol, _, dataset = score.setting.partition("@")
    title = f"{score.backbone}, {dataset}" if name_backbone else dataset
    return ReliabilityDiagram(title, f"{protocol}: calibration error {score.value:.3f}", tuple(_place_bins(score)))


def _place_bins(score: Score) -> Iterator[ConfidenceBin]:
    bins = score.provenance["reliability"]
    width = SIDE / len(bins["count"])
    most = max(bins["count"])
    rows = zip(bins["confidence"], bins["accuracy"], bins["count"], strict=True)
    for position, (confidence, accuracy, count) in enumerate(rows):
        if count:
            tip = f"confidence {confidence:.2f}: {accuracy:.0%} of {count:.0f} images correct"
            yield ConfidenceBin(position * width, width, SIDE * (1 - accuracy), SIDE * accuracy, count / most, tip)

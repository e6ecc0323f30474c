"""The convergence charts of a page: validation score against epoch, for every trained backbone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from statistics import fmean

from bob_gauntlet.report.content import Report
from bob_gauntlet.report.html.formatting import format_number
from bob_gauntlet.scores.score import Score

WIDTH, HEIGHT = 270, 200
"""Size of a plot without its axes, in px."""

COLOURS = 6
"""Number of line colours. The seventh to twelfth line repeat them with dashes."""

DOTTED_EPOCHS = 25
"""Curves with at most this many epochs show a visible dot per epoch."""

LABEL_GAP = 13
"""Least vertical distance between two labels at the ends of lines, in px."""

Tick = tuple[float, str]
"""Distance from the left or the top in px, and the text there."""


@dataclass(frozen=True)
class CurvePoint:
    """One evaluated epoch, in px from the top left corner of the plot."""

    x: float
    y: float
    tip: str


@dataclass(frozen=True)
class TrainingCurve:
    """The validation scores of one backbone in one setting, epoch by epoch."""

    # number of the backbone in the report, "" for a single backbone
    number: str
    colour: str
    points: tuple[CurvePoint, ...]
    # of a dot, in px; with many epochs so small that the line hides it
    radius: float
    # height of the label at the end of the line, in px
    label_y: float


@dataclass(frozen=True)
class ConvergenceChart:
    """The training curves of one setting, with the ticks of both axes."""

    title: str
    about: str
    curves: tuple[TrainingCurve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Convergence:
    """One chart per setting, and a legend of (number, colour, backbone); the legend of a single backbone is empty."""

    charts: tuple[ConvergenceChart, ...]
    legend: tuple[tuple[str, str, str], ...]


def build_convergence(report: Report) -> Convergence | None:
    """Build the charts of all training curves in the scores' provenance.

    Returns None without any: frozen features and published scores have no training curve.
    """
    scores_by_setting = _trained_scores(report)
    if not scores_by_setting:
        return None
    styles = _line_styles(report)
    trained = {score.backbone for scores in scores_by_setting.values() for score in scores}
    legend = tuple((number, colour, name) for name, (number, colour) in styles.items() if name in trained and number)
    return Convergence(tuple(_build_chart(scores, styles) for scores in scores_by_setting.values()), legend)


def _trained_scores(report: Report) -> dict[str, list[Score]]:
    """Return setting -> its scores with a training curve.

    A network that several settings test appears only in the setting that trained it.
    """
    scores = [score for score in report.scores if score.metric in ("top1", "mean_auc") and _epochs(score)]
    scores_by_setting: dict[str, list[Score]] = {}
    known_trainings = set()
    for score in sorted(scores, key=lambda score: score.task != "Cls"):
        training = score.backbone, tuple(_epochs(score))
        if score.task == "Cls" or training not in known_trainings:
            known_trainings.add(training)
            scores_by_setting.setdefault(score.setting, []).append(score)
    return scores_by_setting


def _line_styles(report: Report) -> dict[str, tuple[str, str]]:
    """Return backbone -> its number, as in the profile, and its colour; a single backbone has no number."""
    names = list(dict.fromkeys(report.backbones))
    if len(names) == 1:
        return {names[0]: ("", "own")}
    styles = (f"l{i % COLOURS}{' dashed' if i // COLOURS % 2 else ''}" for i in range(len(names)))
    return {name: (str(i), style) for i, (name, style) in enumerate(zip(names, styles, strict=True), 1)}


def _epochs(score: Score) -> list[tuple[int, float, float]]:
    """Return (epoch, validation score in %, training loss) of every epoch with a finite validation score."""
    curve = score.provenance.get("curve") or {"epoch": [], "validation": [], "loss": []}
    rows = zip(curve["epoch"], curve["validation"], curve["loss"], strict=True)
    # a number that was not finite is None in a stored score
    return [
        (epoch, validation, math.nan if loss is None else loss)
        for epoch, validation, loss in rows
        if validation is not None and math.isfinite(validation)
    ]


def _build_chart(scores: Sequence[Score], styles: dict[str, tuple[str, str]]) -> ConvergenceChart:
    """Build the chart of one setting; all its curves share the axes."""
    epochs_by_score = [_epochs(score) for score in scores]
    values = [validation for epochs in epochs_by_score for _, validation, _ in epochs]
    last = max(1, max(epoch for epochs in epochs_by_score for epoch, _, _ in epochs))
    steps, levels = choose_ticks(0, last), choose_ticks(min(values), max(values))
    low, high = levels[0], levels[-1]

    def place(name: str, epoch: int, validation: float, loss: float) -> CurvePoint:
        tip = f"{name}\nepoch {epoch}: validation {format_number(validation)}%\ntraining loss {format_number(loss)}"
        return CurvePoint(WIDTH * epoch / last, HEIGHT * (high - validation) / (high - low), tip)

    points_by_score = [
        tuple(place(score.backbone, *epoch) for epoch in epochs)
        for score, epochs in zip(scores, epochs_by_score, strict=True)
    ]
    labels = spread_labels([points[-1].y for points in points_by_score])
    curves = (
        TrainingCurve(*styles[score.backbone], points, 3 if len(points) <= DOTTED_EPOCHS else 1, label)
        for score, points, label in zip(scores, points_by_score, labels, strict=True)
    )
    protocol, _, dataset = scores[0].setting.partition("@")
    return ConvergenceChart(
        dataset,
        f"{protocol}: {scores[0].metric} in % on validation images, never on the test images",
        tuple(curves),
        tuple((WIDTH * step / last, str(step)) for step in steps if step <= last),
        tuple((HEIGHT * (high - level) / (high - low), str(level)) for level in levels),
    )


def choose_ticks(low: float, high: float, most: int = 5) -> list[int]:
    """Choose whole numbers at equal steps of 1, 2 or 5 times a power of ten that enclose `low` and `high`.

    There are at most `most` steps.

    >>> choose_ticks(41.0, 78.5), choose_ticks(98.2, 98.9), choose_ticks(100, 100)
    ([40, 50, 60, 70, 80], [98, 99], [99, 100])
    """
    first, last = math.floor(low), math.ceil(high)
    if first == last:
        first = max(0, last - 1)
        last = first + 1
    steps = (unit * 10**power for power in count() for unit in (1, 2, 5))
    step = next(step for step in steps if -(-last // step) - first // step <= most)
    return list(range(first // step * step, -(-last // step) * step + 1, step))


def spread_labels(wanted: Sequence[float]) -> list[float]:
    """Move the heights of labels apart to at least LABEL_GAP and into the plot, and no further than needed.

    >>> spread_labels([100.0, 20.0, 103.0]), spread_labels([199.0, 200.0])
    ([95.0, 20.0, 108.0], [187.0, 200.0])
    """
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    # after the gaps are subtracted, heights must not decrease; where they do, neighbours take their mean
    # (pool adjacent violators algorithm)
    groups: list[list[float]] = []
    for rank, i in enumerate(order):
        groups.append([wanted[i] - rank * LABEL_GAP])
        while len(groups) > 1 and fmean(groups[-2]) > fmean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    monotone = [fmean(group) for group in groups for _ in group]
    lowest = float(HEIGHT - (len(order) - 1) * LABEL_GAP)
    heights = [max(0.0, min(height, lowest)) + rank * LABEL_GAP for rank, height in enumerate(monotone)]
    height_of = dict(zip(order, heights, strict=True))
    return [height_of[i] for i in range(len(wanted))]

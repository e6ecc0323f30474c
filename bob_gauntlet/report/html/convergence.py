"""The convergence curves of a page: validation score against epoch, for each backbone that was trained."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from statistics import fmean

from bob_gauntlet.report.content import Report
from bob_gauntlet.report.html.formatting import plain
from bob_gauntlet.scores.score import Score

WIDTH, HEIGHT = 270, 200
"""Of the plot without its axes, in px."""

COLOURS = 6
"""Colours of lines; from the seventh on they come again, dashed."""

FEW = 25
"""Epochs up to which each has a dot."""

GAP = 13
"""Between two labels at the ends of lines, in px."""

Tick = tuple[float, str]
"""px from the left or the top, and what stands there."""


@dataclass(frozen=True)
class Knot:
    """One evaluated epoch, in px from the top left corner of the plot."""

    x: float
    y: float
    # what hovering says
    tip: str


@dataclass(frozen=True)
class Line:
    """One backbone in one setting."""

    mark: str
    colour: str
    knots: tuple[Knot, ...]
    # of a dot, in px: one that the line hides where epochs are many
    radius: float
    # where the mark at the line's end stands
    label_y: float


@dataclass(frozen=True)
class Chart:
    """One setting."""

    title: str
    about: str
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]


@dataclass(frozen=True)
class Convergence:
    """A chart a setting, and (mark, colour, name) of each backbone in them; no keys for a single backbone."""

    charts: tuple[Chart, ...]
    keys: tuple[tuple[str, str, str], ...]


def convergence(report: Report) -> Convergence | None:
    """The curves that scores carry in their provenance; None where none does (frozen features, published scores)."""
    by_setting = _trainings(report)
    if not by_setting:
        return None
    styles = _styles(report)
    drawn = {score.backbone for scores in by_setting.values() for score in scores}
    keys = tuple((mark, colour, name) for name, (mark, colour) in styles.items() if name in drawn and mark)
    return Convergence(tuple(_chart(scores, styles) for scores in by_setting.values()), keys)


def _trainings(report: Report) -> dict[str, list[Score]]:
    """Setting -> its scores with a curve; a network that others test as well is drawn where it was trained."""
    curves = [score for score in report.scores if score.metric in ("top1", "mean_auc") and _points(score)]
    found: dict[str, list[Score]] = {}
    seen = set()
    for score in sorted(curves, key=lambda score: score.task != "Cls"):
        training = score.backbone, tuple(_points(score))
        if score.task == "Cls" or training not in seen:
            seen.add(training)
            found.setdefault(score.setting, []).append(score)
    return found


def _styles(report: Report) -> dict[str, tuple[str, str]]:
    """Backbone -> its number, the same as in the profile, and its colour; a single one has no number."""
    names = list(dict.fromkeys(report.own))
    if len(names) == 1:
        return {names[0]: ("", "own")}
    styles = (f"l{i % COLOURS}{' dashed' if i // COLOURS % 2 else ''}" for i in range(len(names)))
    return {name: (str(i), style) for i, (name, style) in enumerate(zip(names, styles, strict=True), 1)}


def _points(score: Score) -> list[tuple[int, float, float]]:
    """(epoch, validation score in %, training loss) of every epoch with a validation score."""
    curve = score.provenance.get("curve") or {"epoch": [], "validation": [], "loss": []}
    rows = zip(curve["epoch"], curve["validation"], curve["loss"], strict=True)
    return [row for row in rows if math.isfinite(row[1])]


def _chart(scores: Sequence[Score], styles: dict[str, tuple[str, str]]) -> Chart:
    points = [_points(score) for score in scores]
    values = [validation for found in points for _, validation, _ in found]
    last = max(1, max(epoch for found in points for epoch, _, _ in found))
    steps, levels = ticks(0, last), ticks(min(values), max(values))
    low, high = levels[0], levels[-1]

    def knot(name: str, epoch: int, validation: float, loss: float) -> Knot:
        tip = f"{name}\nepoch {epoch}: validation {plain(validation)}%\ntraining loss {plain(loss)}"
        return Knot(WIDTH * epoch / last, HEIGHT * (high - validation) / (high - low), tip)

    knots = [tuple(knot(s.backbone, *row) for row in found) for s, found in zip(scores, points, strict=True)]
    labels = spread([found[-1].y for found in knots])
    lines = (
        Line(*styles[score.backbone], found, 3 if len(found) <= FEW else 1, label)
        for score, found, label in zip(scores, knots, labels, strict=True)
    )
    protocol, _, dataset = scores[0].setting.partition("@")
    return Chart(
        dataset,
        f"{protocol}: {scores[0].metric} in % on validation images, never the test images",
        tuple(lines),
        tuple((WIDTH * step / last, str(step)) for step in steps if step <= last),
        tuple((HEIGHT * (high - level) / (high - low), str(level)) for level in levels),
    )


def ticks(low: float, high: float, most: int = 5) -> list[int]:
    """Whole numbers 1, 2 or 5 times a power of ten apart, from at or below `low` to at or above `high`.

    >>> ticks(41.0, 78.5), ticks(98.2, 98.9), ticks(100, 100)
    ([40, 50, 60, 70, 80], [98, 99], [99, 100])
    """
    first, last = math.floor(low), math.ceil(high)
    if first == last:
        first = max(0, last - 1)
        last = first + 1
    steps = (unit * 10**power for power in count() for unit in (1, 2, 5))
    step = next(step for step in steps if -(-last // step) - first // step <= most)
    return list(range(first // step * step, -(-last // step) * step + 1, step))


def spread(wanted: Sequence[float]) -> list[float]:
    """Heights moved apart to GAP, no further than they must be, and inside the plot, so that labels can be read.

    >>> spread([100.0, 20.0, 103.0]), spread([199.0, 200.0])
    ([95.0, 20.0, 108.0], [187.0, 200.0])
    """
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    # less their gaps, heights may not fall: where they do, each takes the mean (pool adjacent violators)
    pools: list[list[float]] = []
    for rank, i in enumerate(order):
        pools.append([wanted[i] - rank * GAP])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    settled = [fmean(pool) for pool in pools for _ in pool]
    lowest = float(HEIGHT - (len(order) - 1) * GAP)
    placed = dict(zip(order, (max(0.0, min(at, lowest)) + rank * GAP for rank, at in enumerate(settled)), strict=True))
    return [placed[i] for i in range(len(wanted))]

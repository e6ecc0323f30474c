"""The profile of a page: a strip a task, with a dot for each backbone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bob_gauntlet.ranking.ranking import Ranking
from bob_gauntlet.ranking.score_table import ALL, MIN_COVERAGE, ScoreTable
from bob_gauntlet.report.html.formatting import column, ordinal, signed
from bob_gauntlet.report.html.headline import Card, place


@dataclass(frozen=True)
class Dot:
    """One backbone on a strip."""

    b: int
    # percent of the strip's width
    left: float
    tip: str
    # "focus" for those the page is about, "ranked", or "reference" for those that make mean and std only
    kind: str
    # what stands beside a focus dot: its z, or its number where there are several
    label: str = ""


@dataclass(frozen=True)
class Told:
    """What a strip says of one backbone in words."""

    mark: str
    z: str
    place: str


@dataclass(frozen=True)
class Strip:
    """One column of the ranking."""

    column: str
    about: str
    dots: tuple[Dot, ...]
    told: tuple[Told, ...]


@dataclass(frozen=True)
class Profile:
    """Strips over one axis."""

    strips: tuple[Strip, ...]
    # (percent, text)
    ticks: tuple[tuple[float, str], ...]
    # what the numbers in the dots stand for; empty for a single backbone
    marks: tuple[tuple[str, str], ...]


def profile(score_table: ScoreTable, ranking: Ranking, cards: Sequence[Card]) -> Profile:
    """The backbones of the cards against every member of the pool."""
    columns = {name: _values(score_table, name) for name in score_table.columns}
    shown = [z for values in columns.values() for z in values.values()]
    low, high = math.floor(2 * min(shown, default=0)) / 2, math.ceil(2 * max(shown, default=0)) / 2
    axis = (min(low, -0.5), max(high, 0.5))
    marks = {card.name: str(i) if len(cards) > 1 else "" for i, card in enumerate(cards, 1)}
    ranked = {row.backbone for row in ranking.rows if row.rank is not None or row.below_min_coverage}
    strips = []
    for name, values in columns.items():
        dots = [_dot(score_table, b, z, axis, marks, ranked) for b, z in values.items()]
        in_front = sorted(dots, key=lambda dot: ("reference", "ranked", "focus").index(dot.kind))
        told = tuple(_told(ranking, card, name, marks[card.name]) for card in cards)
        strips.append(Strip(name, column(name), tuple(in_front), told))
    ticks = tuple(
        (_at(t, axis), signed(float(t), 0) if t else "0") for t in range(math.ceil(axis[0]), int(axis[1]) + 1)
    )
    named = tuple((marks[card.name], card.title) for card in cards) if len(cards) > 1 else ()
    return Profile(tuple(strips), ticks, named)


def _values(score_table: ScoreTable, name: str) -> dict[int, float]:
    """Entrant -> mean z; for All of those only that cover enough of it."""
    covered = score_table.coverage(name) >= (MIN_COVERAGE if name == ALL else 0)
    found = zip(score_table.mean_z(name), covered, strict=True)
    return {b: float(z) for b, (z, enough) in enumerate(found) if enough and math.isfinite(z)}


def _dot(
    score_table: ScoreTable, b: int, z: float, axis: tuple[float, float], marks: dict[str, str], ranked: set[str]
) -> Dot:
    backbone = score_table.backbones[b]
    focus = backbone.name in marks
    kind = "focus" if focus else "ranked" if backbone.name in ranked else "reference"
    label = (marks[backbone.name] or signed(z)) if focus else ""
    about = "" if kind != "reference" else f"\nnot ranked: {backbone.about.why or 'a reference of the pool'}"
    return Dot(b, _at(z, axis), f"{backbone.title}\nmean z {signed(z)}{about}", kind, label)


def _told(ranking: Ranking, card: Card, name: str, mark: str) -> Told:
    found = place(ranking, card.row, name) if card.row else None
    if found is None:
        return Told(mark, signed(card.row.z.get(name) if card.row else None), "")
    return Told(mark, signed(found.z), f"{ordinal(found.place)} of {found.of}")


def _at(z: float, axis: tuple[float, float]) -> float:
    return round(100 * (z - axis[0]) / (axis[1] - axis[0]), 2)

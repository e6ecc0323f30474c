"""The profile of a page: a strip per column of the ranking, with a dot for each backbone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bob_gauntlet.ranking.ranking import Ranking
from bob_gauntlet.ranking.score_table import ALL, MIN_COVERAGE, ScoreTable
from bob_gauntlet.report.html.formatting import describe_column, format_ordinal, format_signed
from bob_gauntlet.report.html.headline import BackboneCard, rank_in_column


@dataclass(frozen=True)
class ProfileDot:
    """One backbone on a strip."""

    backbone_index: int
    # percent of the strip's width
    left: float
    tip: str
    # "focus" for the backbones of the cards, "ranked", or "reference" for those that only contribute to mean and std
    kind: str
    # text beside a focus dot: its z, or its number if there are several cards
    label: str = ""


@dataclass(frozen=True)
class ProfileText:
    """The texts of a strip about one backbone of the cards: its number, its mean z and its rank."""

    number: str
    z: str
    rank: str


@dataclass(frozen=True)
class ProfileStrip:
    """One column of the ranking."""

    column: str
    about: str
    dots: tuple[ProfileDot, ...]
    texts: tuple[ProfileText, ...]


@dataclass(frozen=True)
class Profile:
    """Strips that share one axis."""

    strips: tuple[ProfileStrip, ...]
    # (percent of the strip's width, text)
    ticks: tuple[tuple[float, str], ...]
    # (number, title) of each backbone of the cards; empty for a single one
    legend: tuple[tuple[str, str], ...]


def build_profile(score_table: ScoreTable, ranking: Ranking, cards: Sequence[BackboneCard]) -> Profile:
    """Build the profile of the backbones of `cards`, beside every member of the pool."""
    z_by_column = {column: _mean_z_by_index(score_table, column) for column in score_table.columns}
    every_z = [z for z_by_index in z_by_column.values() for z in z_by_index.values()]
    low, high = math.floor(2 * min(every_z, default=0)) / 2, math.ceil(2 * max(every_z, default=0)) / 2
    axis = (min(low, -0.5), max(high, 0.5))
    numbers = {card.name: str(i) if len(cards) > 1 else "" for i, card in enumerate(cards, 1)}
    ranked = {row.backbone for row in ranking.rows if row.rank is not None or row.below_min_coverage}
    strips = []
    for column, z_by_index in z_by_column.items():
        dots = [_build_dot(score_table, index, z, axis, numbers, ranked) for index, z in z_by_index.items()]
        focus_last = sorted(dots, key=lambda dot: ("reference", "ranked", "focus").index(dot.kind))
        texts = tuple(_build_text(ranking, card, column, numbers[card.name]) for card in cards)
        strips.append(ProfileStrip(column, describe_column(column), tuple(focus_last), texts))
    ticks = tuple(
        (_position(z, axis), format_signed(float(z), 0) if z else "0")
        for z in range(math.ceil(axis[0]), int(axis[1]) + 1)
    )
    legend = tuple((numbers[card.name], card.title) for card in cards) if len(cards) > 1 else ()
    return Profile(tuple(strips), ticks, legend)


def _mean_z_by_index(score_table: ScoreTable, column: str) -> dict[int, float]:
    """Return index of a backbone -> its mean z in a column; in All only for backbones with enough coverage."""
    covered = score_table.coverage(column) >= (MIN_COVERAGE if column == ALL else 0)
    rows = zip(score_table.mean_z(column), covered, strict=True)
    return {index: float(z) for index, (z, enough) in enumerate(rows) if enough and math.isfinite(z)}


def _build_dot(
    score_table: ScoreTable, index: int, z: float, axis: tuple[float, float], numbers: dict[str, str], ranked: set[str]
) -> ProfileDot:
    backbone = score_table.backbones[index]
    focus = backbone.name in numbers
    kind = "focus" if focus else "ranked" if backbone.name in ranked else "reference"
    label = (numbers[backbone.name] or format_signed(z)) if focus else ""
    reason = "" if kind != "reference" else f"\nnot ranked: {backbone.about.why or 'a reference of the pool'}"
    return ProfileDot(index, _position(z, axis), f"{backbone.title}\nmean z {format_signed(z)}{reason}", kind, label)


def _build_text(ranking: Ranking, card: BackboneCard, column: str, number: str) -> ProfileText:
    rank = rank_in_column(ranking, card.row, column) if card.row else None
    if rank is None:
        return ProfileText(number, format_signed(card.row.z.get(column) if card.row else None), "")
    return ProfileText(number, format_signed(rank.z), f"{format_ordinal(rank.rank)} of {rank.of}")


def _position(z: float, axis: tuple[float, float]) -> float:
    """Return the position of `z` on an axis from its first to its second value, in percent."""
    return round(100 * (z - axis[0]) / (axis[1] - axis[0]), 2)

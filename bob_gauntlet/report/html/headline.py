"""The head of a page: the rank of each backbone, its best and weakest task, and its ties."""

from collections.abc import Sequence
from dataclasses import dataclass

from bob_gauntlet.ranking.ranking import Ranking, RankingRow
from bob_gauntlet.ranking.score_table import ALL
from bob_gauntlet.report.content import Report
from bob_gauntlet.report.html.formatting import describe_task, format_ordinal, format_signed

TOP = 3
"""Number of cards on a page without backbones of the user: the best of the pool."""


@dataclass(frozen=True)
class ColumnRank:
    """The mean z of a backbone in one column of the ranking, and its rank among the `of` backbones with a value."""

    column: str
    z: float
    rank: int
    of: int

    def __str__(self) -> str:
        """Return the rank as part of a sentence: "retrieval (+0.90, 3rd of 18)"."""
        return f"{describe_task(self.column)} ({format_signed(self.z)}, {format_ordinal(self.rank)} of {self.of})"


@dataclass(frozen=True)
class BackboneCard:
    """One backbone at the head of the page."""

    name: str
    title: str
    own: bool
    # None if the ranking does not list the backbone
    row: RankingRow | None = None
    # tasks with a value, best first
    tasks: tuple[ColumnRank, ...] = ()
    ties: str = ""

    @property
    def strengths(self) -> str:
        """A sentence on the best and the weakest task; "" with fewer than two tasks."""
        if len(self.tasks) < 2:
            return ""
        return f"Best at {self.tasks[0]}, weakest at {self.tasks[-1]}."


def build_cards(report: Report) -> list[BackboneCard]:
    """Build the cards of the report's backbones, or of the pool's best if the report is about the pool alone."""
    rows = report.ranking.rows if report.ranking else ()
    row_of = {row.backbone: row for row in rows}
    top = [row.backbone for row in rows if row.rank is not None][:TOP]
    names = dict.fromkeys(report.backbones or top)
    return [_build_card(report.ranking, row_of.get(name), name, is_own=name in report.backbones) for name in names]


def choose_headline(report: Report, cards: Sequence[BackboneCard]) -> str:
    """Choose the title of the page."""
    if not report.backbones:
        return f"The backbones of pool {report.ranking.pool}" if report.ranking else "Nothing was measured"
    one = cards[0].title if len(cards) == 1 else ""
    if report.ranking is None:
        return f"Scores of {one or f'{len(cards)} backbones'}"
    return f"How {one} ranks" if one else f"How {len(cards)} backbones rank"


def rank_in_column(ranking: Ranking, row: RankingRow, column: str) -> ColumnRank | None:
    """Return the rank of a row in a column; None without a value.

    In a task it counts all rows with a value; in the column All only the rows that are ranked.
    """
    z = row.z.get(column)
    if z is None or (column == ALL and row.rank is None):
        return None
    rows = [other for other in ranking.rows if column != ALL or other.rank is not None]
    values = [value for other in rows if (value := other.z.get(column)) is not None]
    return ColumnRank(column, z, 1 + sum(value > z for value in values), len(values))


def _build_card(ranking: Ranking | None, row: RankingRow | None, name: str, *, is_own: bool) -> BackboneCard:
    if ranking is None or row is None:
        return BackboneCard(name, name, is_own)
    tasks = [rank for task in ranking.columns if task != ALL and (rank := rank_in_column(ranking, row, task))]
    best_first = tuple(sorted(tasks, key=lambda rank: -rank.z))
    return BackboneCard(name, row.title, is_own, row, best_first, _describe_ties(ranking, row))


def _describe_ties(ranking: Ranking, row: RankingRow) -> str:
    """Return a sentence on the tie group of a row; "" without groups.

    The other backbones of a group are those that are not significantly worse than its first one.
    """
    if not row.group:
        return ""
    first, *rest = [other for other in ranking.rows if other.group == row.group]
    if not rest:
        return "No other backbone is in its tie group."
    others = ", ".join(other.title for other in rest if other is not row)
    if first is row:
        return f"Not significantly better than: {others}."
    return f"Not significantly worse than {first.title}, the first of its tie group" + (
        f". Also in this group: {others}." if others else "."
    )

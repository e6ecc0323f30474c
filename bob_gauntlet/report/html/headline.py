"""The head of a page: where each backbone stands, what it is good and bad at, who it cannot be told from."""

from collections.abc import Sequence
from dataclasses import dataclass

from bob_gauntlet.ranking.ranking import Ranking, RankingRow
from bob_gauntlet.ranking.score_table import ALL
from bob_gauntlet.report.content import Report
from bob_gauntlet.report.html.formatting import ordinal, signed, task_in_words

TOP = 3
"""Backbones at the head of a page that is about none of the user's own."""


@dataclass(frozen=True)
class Place:
    """A backbone in one column of the ranking: its mean z, and its place among those with a value."""

    column: str
    z: float
    place: int
    of: int

    def __str__(self) -> str:
        """As a sentence gives it: "retrieval (+0.90, 3rd of 18)"."""
        return f"{task_in_words(self.column)} ({signed(self.z)}, {ordinal(self.place)} of {self.of})"


@dataclass(frozen=True)
class Card:
    """One backbone at the head of the page."""

    name: str
    title: str
    own: bool
    # None where it has no place in the ranking at all
    row: RankingRow | None = None
    # tasks with a value, best first
    tasks: tuple[Place, ...] = ()
    ties: str = ""

    @property
    def strengths(self) -> str:
        """Best and weakest task, "" with fewer than two."""
        if len(self.tasks) < 2:
            return ""
        return f"Best at {self.tasks[0]}, weakest at {self.tasks[-1]}."


def cards(report: Report) -> list[Card]:
    """Of the own backbones; of the pool's best where there are none."""
    rows = report.ranking.rows if report.ranking else ()
    known = {row.backbone: row for row in rows}
    top = [row.backbone for row in rows if row.rank is not None][:TOP]
    names = dict.fromkeys(report.own or top)
    return [_card(report.ranking, known.get(name), name, own=name in report.own) for name in names]


def headline(report: Report, shown: Sequence[Card]) -> str:
    """The title of the page."""
    if not report.own:
        return f"The backbones of pool {report.ranking.pool}" if report.ranking else "Nothing was measured"
    [first, *others] = [card.title for card in shown]
    if report.ranking is None:
        return f"What was measured of {first}" if not others else f"What was measured of {len(shown)} backbones"
    return f"Where {first} stands" if not others else f"Where {len(shown)} backbones stand"


def place(ranking: Ranking, row: RankingRow, column: str) -> Place | None:
    """Among the rows with a value in that column; in the ranked column among those that are ranked."""
    z = row.z.get(column)
    if z is None or (column == ALL and row.rank is None):
        return None
    rows = [other for other in ranking.rows if column != ALL or other.rank is not None]
    values = [v for other in rows if (v := other.z.get(column)) is not None]
    return Place(column, z, 1 + sum(v > z for v in values), len(values))


def _card(ranking: Ranking | None, row: RankingRow | None, name: str, *, own: bool) -> Card:
    if ranking is None or row is None:
        return Card(name, name, own)
    found = [p for task in ranking.columns if task != ALL and (p := place(ranking, row, task))]
    tasks = tuple(sorted(found, key=lambda p: -p.z))
    return Card(name, row.title, own, row, tasks, _ties(ranking, row))


def _ties(ranking: Ranking, row: RankingRow) -> str:
    """Who is in its group; the first is who the others cannot be told from. "" where there are no groups."""
    if not row.group:
        return ""
    first, *rest = [other for other in ranking.rows if other.group == row.group]
    if not rest:
        return "Told apart from every other backbone: alone in its tie group."
    others = ", ".join(other.title for other in rest if other is not row)
    if first is row:
        return f"Not told apart from: {others}."
    return f"Not told apart from {first.title}, the first of its tie group" + (
        f"; also in it: {others}." if others else "."
    )

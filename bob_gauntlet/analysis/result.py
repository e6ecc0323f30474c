"""Results of analyses: tables of plain cells, comparisons with the paper's figures, and notes. No layout."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bob_gauntlet.pools.errata import ErrataMode
from bob_gauntlet.scores.score import Score

Cell = str | int | float | bool | None
"""A cell of a table; None is a missing value."""

UNEXPLAINED = "unexplained difference: check that baselines/paper is the folder that ships with bob-gauntlet"
"""The reason shown for a difference that should not exist."""


@dataclass(frozen=True)
class AnalysisOptions:
    """The user's choices for an analysis."""

    # `correlation` is repeated without these backbones or pretraining methods; None: those that the paper left out
    without: tuple[str, ...] | None = None
    # all scores of the user's backbones by backbone, including scores that no ranking uses
    own_scores: Mapping[str, Sequence[Score]] = field(default_factory=dict)
    # how the pool was loaded
    errata: ErrataMode = "applied"


@dataclass(frozen=True)
class Table:
    """Rows under columns. The first `keys` columns name a row; `formats` holds a format spec for each column."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    formats: tuple[str, ...] = ()
    keys: int = 1

    def records(self) -> list[dict[str, Cell]]:
        """Return one dict for each row, from column to cell."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def label(self, row: Sequence[Cell]) -> str:
        """Return the name of a row: its key columns, joined."""
        return " / ".join(str(cell) for cell in row[: self.keys])


@dataclass(frozen=True)
class PublishedFigure:
    """A figure of the paper beside ours; `why` explains a difference and is "" if ours equals the printed digits."""

    what: str
    where: str
    paper: str
    ours: str
    why: str


@dataclass(frozen=True)
class Finding:
    """The tables and notes that one analysis computes from a score table."""

    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Analysis:
    """One analysis of one pool, ready to be rendered."""

    name: str
    title: str
    about: str
    tables: tuple[Table, ...]
    published: tuple[PublishedFigure, ...]
    notes: tuple[str, ...]
    pool: str = ""
    # titles of the user's own backbones and of the pool members that the user named
    highlighted_titles: tuple[str, ...] = ()


def table(title: str, columns: Mapping[str, str], rows: Iterable[Sequence[Any]], keys: int = 1) -> Table:
    """Build a table from a mapping of columns to formats; NumPy scalars become Python's, NaN becomes None.

    >>> table("t", {"backbone": "", "z": "+.2f"}, [("a", np.float64(1)), ("b", float("nan"))]).rows
    (('a', 1.0), ('b', None))
    """
    return Table(title, tuple(columns), tuple(tuple(_cell(c) for c in row) for row in rows), (*columns.values(),), keys)


def compare(what: str, where: str, paper: str, value: float, why: str = "") -> PublishedFigure:
    """Compare a printed number with our value. `why` is kept only if the two differ.

    Our value is shown with one digit more than the paper's, or with two if the paper cut the number instead of
    rounding it.

    >>> compare("z of A", "Table 19", "-0.99", -0.9958)
    PublishedFigure(what='z of A', where='Table 19', paper='-0.99', ours='-0.9958', why='')
    """
    digits = _digits(paper)
    cut = matches_printed(paper, value) and round(value, digits) != float(paper)
    text = f"{value:.{digits + 1 + cut}f}" if math.isfinite(value) else "–"
    return PublishedFigure(what, where, paper, text, "" if matches_printed(paper, value) else why or UNEXPLAINED)


def compare_order(what: str, where: str, paper: Sequence[str], order: Sequence[str], why: str = "") -> PublishedFigure:
    """Compare a printed order, best first, with our order."""
    equal = list(paper) == list(order)
    return PublishedFigure(what, where, " > ".join(paper), " > ".join(order), "" if equal else why or UNEXPLAINED)


def matches_printed(paper: str, value: float) -> bool:
    """Check that `value`, rounded or cut to the printed number of digits, is the printed number.

    Table 19 contains both rounded and cut numbers.

    >>> matches_printed("-0.99", -0.9958), matches_printed("0.71", 0.7062), matches_printed("0.58", -0.582)
    (True, True, False)
    """
    scale = 10 ** _digits(paper)
    printed = round(float(paper) * scale)
    return math.isfinite(value) and printed in (round(value * scale), math.trunc(value * scale))


def ticks_fit(ticks: Sequence[float], low: float, high: float) -> bool:
    """Check that an axis over [low, high] with matplotlib's margin of 5% has exactly these evenly spaced ticks.

    >>> ticks_fit((0, 1, 2), -0.35, 2.01), ticks_fit((0, 1, 2), -1.2, 2.01)
    (True, False)
    """
    step, margin = ticks[1] - ticks[0], 0.05 * (high - low)
    first, last = math.ceil((low - margin) / step), math.floor((high + margin) / step)
    return [round(t / step) for t in ticks] == list(range(first, last + 1))


def compare_axis(
    what: str, where: str, ticks: Sequence[float], values: Sequence[float], why: str = ""
) -> PublishedFigure:
    """Compare the ticks of a printed axis with the range of our values; the paper's figures print no other numbers."""
    low, high = min(values), max(values)
    paper = f"axis ticks {ticks[0]:g} to {ticks[-1]:g}"
    fits = ticks_fit(ticks, low, high)
    return PublishedFigure(what, where, paper, f"values {low:.2f} to {high:.2f}", "" if fits else why or UNEXPLAINED)


def _digits(text: str) -> int:
    """Count the digits after the decimal point of a printed number."""
    return len(text.partition(".")[2])


def _cell(value: Any) -> Cell:
    """Convert a NumPy scalar to Python's type, and NaN and infinity, which JSON has not, to None."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""What an analysis hands back: tables of plain cells, the paper's figures beside ours, notes. Numbers; no layout."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bob_gauntlet.pools.errata import ErrataMode
from bob_gauntlet.scores.score import Score

Cell = str | int | float | bool | None
"""None is a value that does not exist."""

UNEXPLAINED = "not explained: is this the folder baselines/paper that came with the tool?"
"""Stands where a figure differs that should not."""


@dataclass(frozen=True)
class AnalysisOptions:
    """What a user may choose."""

    # `correlation` once more without these: backbones, or pretraining methods; None: what the paper left out
    without: tuple[str, ...] | None = None
    # every score of the user's backbones, also those that no ranking uses
    own: Mapping[str, Sequence[Score]] = field(default_factory=dict)
    # how the pool was loaded
    errata: ErrataMode = "applied"


@dataclass(frozen=True)
class Table:
    """Rows under columns; the first `keys` columns name a row. `formats` says how a person reads each column."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    formats: tuple[str, ...] = ()
    keys: int = 1

    def records(self) -> list[dict[str, Cell]]:
        """A dict a row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def label(self, row: Sequence[Cell]) -> str:
        """The name of a row."""
        return " / ".join(str(cell) for cell in row[: self.keys])


@dataclass(frozen=True)
class Published:
    """A figure of the paper beside ours. `why` is "" where ours is the printed one to its last digit."""

    what: str
    where: str
    paper: str
    ours: str
    why: str


@dataclass(frozen=True)
class Finding:
    """What one analysis works out of a standing."""

    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Analysis:
    """One analysis of one pool, ready to be shown."""

    name: str
    title: str
    about: str
    tables: tuple[Table, ...]
    published: tuple[Published, ...]
    notes: tuple[str, ...]
    pool: str = ""
    # titles of the user's own backbones
    own: tuple[str, ...] = ()


def table(title: str, columns: Mapping[str, str], rows: Iterable[Sequence[Any]], keys: int = 1) -> Table:
    """A table from columns with their formats; numpy scalars become Python's, NaN becomes None.

    >>> table("t", {"backbone": "", "z": "+.2f"}, [("a", np.float64(1)), ("b", float("nan"))]).rows
    (('a', 1.0), ('b', None))
    """
    return Table(title, tuple(columns), tuple(tuple(_cell(c) for c in row) for row in rows), (*columns.values(),), keys)


def compare(what: str, where: str, paper: str, ours: float, why: str = "") -> Published:
    """A printed number beside ours, shown to one digit more, or two where the paper cut its digits and did not round.

    `why` counts only where the two differ.

    >>> compare("z of A", "Table 19", "-0.99", -0.9958)
    Published(what='z of A', where='Table 19', paper='-0.99', ours='-0.9958', why='')
    """
    digits = _digits(paper)
    cut = same(paper, ours) and round(ours, digits) != float(paper)
    text = f"{ours:.{digits + 1 + cut}f}" if math.isfinite(ours) else "–"
    return Published(what, where, paper, text, "" if same(paper, ours) else why or UNEXPLAINED)


def compare_order(what: str, where: str, paper: Sequence[str], ours: Sequence[str], why: str = "") -> Published:
    """A printed order, best first, beside ours."""
    equal = list(paper) == list(ours)
    return Published(what, where, " > ".join(paper), " > ".join(ours), "" if equal else why or UNEXPLAINED)


def same(paper: str, ours: float) -> bool:
    """Whether `ours`, rounded or cut to as many digits, is the printed number; Table 19 has both.

    >>> same("-0.99", -0.9958), same("0.71", 0.7062), same("0.58", -0.582)
    (True, True, False)
    """
    scale = 10 ** _digits(paper)
    printed = round(float(paper) * scale)
    return math.isfinite(ours) and printed in (round(ours * scale), math.trunc(ours * scale))


def ticks_fit(ticks: Sequence[float], low: float, high: float) -> bool:
    """Whether an axis over [low, high] with matplotlib's margin of 5% has these evenly spaced ticks, and no others.

    >>> ticks_fit((0, 1, 2), -0.35, 2.01), ticks_fit((0, 1, 2), -1.2, 2.01)
    (True, False)
    """
    step, margin = ticks[1] - ticks[0], 0.05 * (high - low)
    first, last = math.ceil((low - margin) / step), math.floor((high + margin) / step)
    return [round(t / step) for t in ticks] == list(range(first, last + 1))


def compare_axis(what: str, where: str, ticks: Sequence[float], values: Sequence[float], why: str = "") -> Published:
    """The ticks of a printed axis beside the range of our values: figures of the paper print no more."""
    low, high = min(values), max(values)
    paper = f"axis ticks {ticks[0]:g} to {ticks[-1]:g}"
    fits = ticks_fit(ticks, low, high)
    return Published(what, where, paper, f"values {low:.2f} to {high:.2f}", "" if fits else why or UNEXPLAINED)


def _digits(text: str) -> int:
    return len(text.partition(".")[2])


def _cell(value: Any) -> Cell:
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value

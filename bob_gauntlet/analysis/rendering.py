"""Analyses as text for a terminal, JSON, or one long CSV table."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from bob_gauntlet.analysis.result import Analysis, Cell, Published, Table

Format = Literal["table", "json", "csv"]
MARK = "►"


def render(analyses: Sequence[Analysis], form: Format, head: Sequence[str] = ()) -> str:
    """The analyses in one of three forms; `head` are lines that stand above the text form."""
    if form == "json":
        return json.dumps([_record(analysis) for analysis in analyses], indent=1, ensure_ascii=False)
    if form == "csv":
        return _csv(analyses)
    return "\n".join([*head, *(line for analysis in analyses for line in ("", *_text(analysis)))]).strip("\n")


def _text(analysis: Analysis) -> Iterator[str]:
    heading = f"{analysis.name}: {analysis.title}"
    yield from (heading, "=" * len(heading), analysis.about)
    for table in analysis.tables:
        yield from ("", f"{table.title}:", "", _table(table, analysis.own))
    if analysis.published:
        yield ""
        reasons = ["", *(found.why for found in analysis.published)]
        yield from map(_published, analysis.published, reasons)
    if analysis.notes:
        yield ""
        yield from analysis.notes


def _table(table: Table, own: Sequence[str]) -> str:
    from tabulate import tabulate

    rows: list[list[str]] = []
    before: Sequence[Cell] = ()
    for row in table.rows:
        # the first of several key columns is a heading: shown where it changes
        cells = [_shown(cell, form, own) for cell, form in zip(row, table.formats, strict=True)]
        same = row[:1] == before
        before = row[:1]
        rows.append(["", *cells[1:]] if same else cells)
    numbers = [any(isinstance(row[i], int | float) for row in table.rows) for i in range(len(table.columns))]
    align = ["right" if number else "left" for number in numbers]
    return tabulate(rows, headers=list(table.columns), tablefmt="simple", disable_numparse=True, colalign=align)


def _shown(cell: Cell, form: str, own: Sequence[str]) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return f"{MARK} {cell}" if cell in own else cell
    return format(cell, form)


def _published(found: Published, before: str) -> str:
    """A line; a reason that the line before gave is not said again."""
    ours = "the same" if found.ours == found.paper else found.ours
    line = f"published, {found.where}: {found.what}: paper {found.paper}, ours {ours}"
    return line if not found.why else f"{line} [{'as above' if found.why == before else found.why}]"


def _record(analysis: Analysis) -> dict[str, Any]:
    return {
        "name": analysis.name,
        "title": analysis.title,
        "about": analysis.about,
        "pool": analysis.pool,
        "own": list(analysis.own),
        "tables": [{"title": t.title, "columns": list(t.columns), "rows": t.records()} for t in analysis.tables],
        "published": [vars(found) for found in analysis.published],
        "notes": list(analysis.notes),
    }


def _csv(analyses: Sequence[Analysis]) -> str:
    """A line a cell: analysis, table, row, column, value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("analysis", "table", "row", "column", "value"))
    for analysis in analyses:
        for table, row, column, value in _lines(analysis):
            writer.writerow((analysis.name, table, row, column, value))
    return text.getvalue().rstrip("\n")


def _lines(analysis: Analysis) -> Iterator[tuple[str, str, str, Cell]]:
    for table in analysis.tables:
        for row in table.rows:
            for column, cell in list(zip(table.columns, row, strict=True))[table.keys :]:
                yield table.title, table.label(row), column, cell
    for found in analysis.published:
        for column in ("where", "paper", "ours", "why"):
            yield "published", found.what, column, getattr(found, column)
    for number, note in enumerate(analysis.notes, 1):
        yield "notes", str(number), "note", note

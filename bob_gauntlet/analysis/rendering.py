"""Render analyses as text for a terminal, as JSON, or as one long CSV table."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from bob_gauntlet.analysis.result import Analysis, Cell, PublishedFigure, Table

Format = Literal["table", "json", "csv"]
MARK = "►"
"""Marks highlighted backbones in text."""


def render(analyses: Sequence[Analysis], form: Format, header: Sequence[str] = ()) -> str:
    """Render the analyses in one of three forms; the lines of `header` come first in the text form."""
    if form == "json":
        return json.dumps([_json_record(analysis) for analysis in analyses], indent=1, ensure_ascii=False)
    if form == "csv":
        return _csv(analyses)
    return "\n".join([*header, *(line for analysis in analyses for line in ("", *_text(analysis)))]).strip("\n")


def _text(analysis: Analysis) -> Iterator[str]:
    """Yield the lines of one analysis."""
    heading = f"{analysis.name}: {analysis.title}"
    yield from (heading, "=" * len(heading), analysis.about)
    for table in analysis.tables:
        yield from ("", f"{table.title}:", "", _text_table(table, analysis.highlighted_titles))
    if analysis.published:
        yield ""
        previous_reasons = ["", *(figure.why for figure in analysis.published)]
        yield from map(_published_line, analysis.published, previous_reasons)
    if analysis.notes:
        yield ""
        yield from analysis.notes


def _text_table(table: Table, highlighted_titles: Sequence[str]) -> str:
    """Lay out a table for a terminal."""
    from tabulate import tabulate

    rows: list[list[str]] = []
    previous: Sequence[Cell] = ()
    for row in table.rows:
        # the first key column is shown only where it changes, like a heading
        cells = [_cell_text(cell, form, highlighted_titles) for cell, form in zip(row, table.formats, strict=True)]
        repeated = row[:1] == previous
        previous = row[:1]
        rows.append(["", *cells[1:]] if repeated else cells)
    is_number = [any(isinstance(row[i], int | float) for row in table.rows) for i in range(len(table.columns))]
    align = ["right" if number else "left" for number in is_number]
    return tabulate(rows, headers=list(table.columns), tablefmt="simple", disable_numparse=True, colalign=align)


def _cell_text(cell: Cell, form: str, highlighted_titles: Sequence[str]) -> str:
    """Format a cell; highlighted backbones are marked."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return f"{MARK} {cell}" if cell in highlighted_titles else cell
    return format(cell, form)


def _published_line(figure: PublishedFigure, previous_reason: str) -> str:
    """Format a comparison with the paper as one line; a reason that the line before gave is not repeated."""
    value = "the same" if figure.ours == figure.paper else figure.ours
    line = f"published, {figure.where}: {figure.what}: paper {figure.paper}, ours {value}"
    return line if not figure.why else f"{line} [{'as above' if figure.why == previous_reason else figure.why}]"


def _json_record(analysis: Analysis) -> dict[str, Any]:
    """Return one analysis as a JSON object."""
    return {
        "name": analysis.name,
        "title": analysis.title,
        "about": analysis.about,
        "pool": analysis.pool,
        "own": list(analysis.highlighted_titles),
        "tables": [{"title": t.title, "columns": list(t.columns), "rows": t.records()} for t in analysis.tables],
        "published": [vars(figure) for figure in analysis.published],
        "notes": list(analysis.notes),
    }


def _csv(analyses: Sequence[Analysis]) -> str:
    """Return a CSV table with one line for each cell: analysis, table, row, column, value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("analysis", "table", "row", "column", "value"))
    for analysis in analyses:
        for table, row, column, value in _csv_rows(analysis):
            writer.writerow((analysis.name, table, row, column, value))
    return text.getvalue().rstrip("\n")


def _csv_rows(analysis: Analysis) -> Iterator[tuple[str, str, str, Cell]]:
    """Yield (table, row, column, value) of every cell that is not a key, every comparison, and every note."""
    for table in analysis.tables:
        for row in table.rows:
            for column, cell in list(zip(table.columns, row, strict=True))[table.keys :]:
                yield table.title, table.label(row), column, cell
    for figure in analysis.published:
        for column in ("where", "paper", "ours", "why"):
            yield "published", figure.what, column, getattr(figure, column)
    for number, note in enumerate(analysis.notes, 1):
        yield "notes", str(number), "note", note

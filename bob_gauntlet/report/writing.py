"""Write a report to a file. The ending of the file name chooses the format."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bob_gauntlet.errors import UsageError
from bob_gauntlet.runtime.artifacts import write_atomically

if TYPE_CHECKING:
    from bob_gauntlet.report.content import Report

ENDINGS: Mapping[str, str] = {
    ".html": "a page for a browser; works offline",
    ".md": "Markdown, for a pull request",
    ".csv": "one row per score",
    ".json": "the whole report, for a program",
}
"""Ending of the file name -> description of the format."""


def check(path: Path, option: str) -> None:
    """Raise a UsageError if no report format has the ending of `path`; `option` is named in the message."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(
            f"{option} {path.name}: the file name must end in {', '.join(ENDINGS)}; type {option} {path.stem}.html"
        )


def write(path: Path, report: "Report") -> None:
    """Write the whole report to `path`, or nothing if writing fails."""
    write_atomically(path, _choose_renderer(path)(report).encode())


def _choose_renderer(path: Path) -> "Callable[[Report], str]":
    ending = path.suffix.lower()
    if ending == ".html":
        from bob_gauntlet.report.html.page import render_html

        return render_html
    if ending == ".md":
        from bob_gauntlet.report.markdown import render_markdown

        return render_markdown
    from bob_gauntlet.report import data

    return data.as_csv if ending == ".csv" else data.as_json

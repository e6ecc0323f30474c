"""A report into a file: its ending says which form."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bob_gauntlet.errors import UsageError
from bob_gauntlet.runtime.artifacts import write_atomically

if TYPE_CHECKING:
    from bob_gauntlet.report.content import Report

ENDINGS: Mapping[str, str] = {
    ".html": "a page to look at, offline",
    ".md": "Markdown, for a pull request",
    ".csv": "a row a score",
    ".json": "everything, for a program",
}
"""Ending of the file -> what it is."""


def check(path: Path, option: str) -> None:
    """UsageError for an ending that no report has."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{option} {path.name}: has to end in {', '.join(ENDINGS)}; type {option} {path.stem}.html")


def write(path: Path, report: "Report") -> None:
    """Write the file, whole or not at all."""
    write_atomically(path, _form(path)(report).encode())


def _form(path: Path) -> "Callable[[Report], str]":
    ending = path.suffix.lower()
    if ending == ".html":
        from bob_gauntlet.report.html.page import page as html

        return html
    if ending == ".md":
        from bob_gauntlet.report.markdown import page as markdown

        return markdown
    from bob_gauntlet.report import data

    return data.as_csv if ending == ".csv" else data.as_json

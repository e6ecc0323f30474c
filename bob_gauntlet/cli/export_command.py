"""`bob export`: all stored scores as a table for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from bob_gauntlet.cli.ranking_commands import STORE
from bob_gauntlet.errors import BobError, UsageError
from bob_gauntlet.runtime.artifacts import write_atomically

if TYPE_CHECKING:
    import pandas as pd


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "parquet"]),
    help="Format of the table.  [default: parquet for a FILE that ends in .parquet, else csv]",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="File to write.  [default: standard output]"
)
@STORE
def export(form: Literal["csv", "parquet"] | None, output: Path | None, store: Path | None) -> None:
    """Write all stored scores as a table, one row a score.

    The columns are those of bob_gauntlet.scores() in Python: docs/api.md describes them. Parquet needs pyarrow or
    fastparquet, and a file.
    """
    from bob_gauntlet import api

    form = form or ("parquet" if output is not None and output.suffix == ".parquet" else "csv")
    if form == "parquet" and output is None:
        raise UsageError("--format parquet needs a file; add -o scores.parquet")
    frame = api.scores(store)
    if frame.empty:
        raise BobError("no scores are stored yet; run: pytest $(bob suites) --backbone=efficientnet_lite0")
    content = _encode(frame, form)
    if output is None:
        click.echo(content, nl=False)
        return
    try:
        write_atomically(output, content)
    except OSError as error:
        raise UsageError(f"{output} cannot be written ({error.strerror}); choose another -o FILE") from error
    click.echo(f"{output} is written: {len(frame)} scores")


def _encode(frame: "pd.DataFrame", form: Literal["csv", "parquet"]) -> bytes:
    """Return the content of the file. Raises UsageError where no package that writes Parquet is installed."""
    if form == "csv":
        return frame.to_csv(index=False, lineterminator="\n").encode()
    try:
        return frame.to_parquet(None, index=False)
    except ImportError as error:
        raise UsageError("--format parquet needs pyarrow: pip install pyarrow") from error

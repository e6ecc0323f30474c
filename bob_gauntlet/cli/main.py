"""`bob`: what is known and stored, without running anything; and `bob baseline`, which measures."""

import sys
from pathlib import Path

import click

from bob_gauntlet import __version__
from bob_gauntlet.backbones.zoo import search
from bob_gauntlet.cli import ranking_commands
from bob_gauntlet.cli.data_commands import data
from bob_gauntlet.config import bob_folder, bundled
from bob_gauntlet.errors import BobError
from bob_gauntlet.scores.store import Store


class _Group(click.Group):
    """Errors that a user can mend are one line and exit code 4, as in pytest."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BobError as error:
            click.echo(f"bob: {error}", err=True)
            ctx.exit(4)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bob")
def main() -> None:
    """Judge a pretrained vision backbone. The gauntlet itself runs by: pytest $(bob suites) --backbone=NAME"""


@main.command()
def suites() -> None:
    """Print the folder of the suites: pytest $(bob suites) --backbone=NAME works anywhere."""
    click.echo(bundled("suites"))


for _command in (ranking_commands.rank, ranking_commands.analyse, ranking_commands.report, ranking_commands.pool, data):
    main.add_command(_command)


@main.command()
@click.argument("pattern", default="*")
def zoo(pattern: str) -> None:
    """Known backbones whose name, method or data match PATTERN. Any other timm name works too."""
    rows = [
        [
            *(e.name, e.model, e.method, e.data, f"{e.images:g}", f"{e.params:.2f}"),
            "-" if e.gflops is None else f"{e.gflops:.2f}",
            e.licence,
        ]
        for e in search(pattern)
    ]
    if not rows:
        raise BobError(f"no known backbone matches {pattern!r}; `bob zoo` lists them all, and any timm name works")
    headers = ["backbone", "model", "pretraining", "data", "images (M)", "params (M)", "GFLOPs", "licence"]
    click.echo(ranking_commands.table(rows, headers))


@main.command(name="list")
@ranking_commands.STORE
def list_scores(store: Path | None) -> None:
    """Every stored score, the newest of each."""
    from bob_gauntlet.scores.score import METRICS

    found = Store(store or bob_folder(Path.cwd()) / "store").latest().values()
    rows = [
        [
            s.backbone,
            s.setting,
            s.metric,
            f"{s.value:.4g}",
            METRICS[s.metric].unit,
            s.cut,
            s.provenance.get("started", ""),
        ]
        for s in found
    ]
    if not rows:
        raise BobError("nothing is stored yet: pytest $(bob suites) --backbone=efficientnet_lite0")
    click.echo(ranking_commands.table(rows, ["backbone", "setting", "metric", "value", "unit", "limit", "measured"]))


@main.group()
def baseline() -> None:
    """Make and mend folders of baseline scores."""


@baseline.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("pytest_options", nargs=-1, type=click.UNPROCESSED)
def refresh(name: str, pytest_options: tuple[str, ...]) -> None:
    """Measure the stale rows of baselines NAME again; resumes. More options go to pytest, such as -n 2.

    Published figures (NAME paper) are derived from their tables instead.
    """
    from bob_gauntlet.pools.refresh import refresh as again

    sys.exit(again(name, pytest_options))

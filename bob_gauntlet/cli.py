"""`bob`: what is known, stored and ranked, without running anything; and `bob baseline`, which measures."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from bob_gauntlet import __version__
from bob_gauntlet.backbones.zoo import search
from bob_gauntlet.baseline import folder_of
from bob_gauntlet.config import bob_folder, bundled
from bob_gauntlet.datasets.catalog import CATALOG, describe
from bob_gauntlet.errors import BobError
from bob_gauntlet.settings import TASKS
from bob_gauntlet.store import Store

STORE = click.option("--bob-store", "store", type=click.Path(path_type=Path), help="Where scores are kept.")


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


@main.command()
@click.option("--pool", default="mini", show_default=True, help="Baselines: a name or a folder.")
@click.option("--task", type=click.Choice(list(TASKS)), help="Rank by one task instead of All.")
@click.option("--members", is_flag=True, help="Every member of the pool, not the candidates alone.")
@click.option("--backbone", "names", multiple=True, help="Rank this backbone of the store too; may be repeated.")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv", "markdown"]), default="table")
@STORE
def rank(pool: str, task: str | None, members: bool, names: tuple[str, ...], form: str, store: Path | None) -> None:
    """The ranking of a pool, from stored scores."""
    from bob_gauntlet import pools, stored
    from bob_gauntlet.artifacts import Artifacts
    from bob_gauntlet.report.layout import render
    from bob_gauntlet.report.ranking import rank as ranked

    home = bob_folder(Path.cwd())
    found = pools.load(pool, home / "baselines")
    own = stored.of_backbones(Store(store or home / "store"), names)
    ranking = ranked(found, own, task=task, members=members, artifacts=Artifacts(home / "artifacts"))
    click.echo(render(ranking, form))  # type: ignore[arg-type]


@main.command()
@click.argument("name", required=False)
def data(name: str | None) -> None:
    """Every dataset, or one of them in full: what it is, its licence, how to get it."""
    if name:
        click.echo(describe(name))
        return
    rows = [[d.name, d.scale, "yes" if d.loader else "not yet", d.size, d.classes, d.licence] for d in CATALOG.values()]
    click.echo(_table(rows, ["dataset", "scale", "reader", "images", "classes", "licence"]))


@main.command()
@click.argument("pattern", default="*")
def zoo(pattern: str) -> None:
    """Known backbones whose name, method or data match PATTERN. Any other timm name works too."""
    rows = [[e.name, e.family, e.method, e.data, e.licence, e.paper] for e in search(pattern)]
    if not rows:
        raise BobError(f"no known backbone matches {pattern!r}; `bob zoo` lists them all, and any timm name works")
    click.echo(_table(rows, ["backbone", "family", "pretraining", "data", "licence", "row of the paper"]))


@main.command(name="list")
@STORE
def list_scores(store: Path | None) -> None:
    """Every stored score, the newest of each."""
    from bob_gauntlet.scores import METRICS

    found = Store(store or bob_folder(Path.cwd()) / "store").latest().values()
    rows = [
        [
            s.backbone,
            s.setting,
            s.metric,
            f"{s.value:.4g}",
            METRICS[s.metric].unit,
            s.limit or "",
            s.provenance.get("started", ""),
        ]
        for s in found
    ]
    if not rows:
        raise BobError("nothing is stored yet: pytest $(bob suites) --backbone=efficientnet_lite0")
    click.echo(_table(rows, ["backbone", "setting", "metric", "value", "unit", "limit", "measured"]))


@main.group()
def baseline() -> None:
    """Make and mend folders of baseline scores."""


@baseline.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("pytest_options", nargs=-1, type=click.UNPROCESSED)
def refresh(name: str, pytest_options: tuple[str, ...]) -> None:
    """Measure the stale rows of baselines NAME again; resumes. More options go to pytest, such as -n 2."""
    from bob_gauntlet.refreshing import refresh as again

    sys.exit(again(name, pytest_options))


@baseline.command()
@click.argument("name")
def freeze(name: str) -> None:
    """Write the pool of baselines NAME anew from its scores: its mean, std and hash."""
    from bob_gauntlet import pools

    folder = folder_of(name, bob_folder(Path.cwd()) / "baselines")
    pools.freeze(folder)
    click.echo(f"{folder / 'pool.json'} is written")


def _table(rows: Sequence[Sequence[object]], headers: list[str]) -> str:
    from tabulate import tabulate

    return tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True)


if __name__ == "__main__":
    main()

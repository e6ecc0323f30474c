"""`bob`: what is known, stored and ranked, without running anything; and `bob baseline`, which measures."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bob_gauntlet import __version__
from bob_gauntlet.backbones.zoo import search
from bob_gauntlet.config import bob_folder, bundled
from bob_gauntlet.datasets.catalog import CATALOG, describe
from bob_gauntlet.errata import Errata
from bob_gauntlet.errors import BobError
from bob_gauntlet.settings import TASKS
from bob_gauntlet.store import Store

if TYPE_CHECKING:
    from bob_gauntlet.report.layout import Format

STORE = click.option("--bob-store", "store", type=click.Path(path_type=Path), help="Where scores are kept.")
POOL = click.option("--pool", default="mini", show_default=True, help="Baselines: a name or a folder.")
NAMES = click.option("--backbone", "names", multiple=True, help="A backbone of the store or the pool; may be repeated.")
ERRATA = click.option(
    "--errata",
    type=click.Choice(["applied", "printed", "all"]),
    default="applied",
    show_default=True,
    help="What is wrong in the paper's tables: certain errata applied, figures as printed, suspected ones applied too.",
)
COVERAGE = click.option(
    "--min-coverage",
    type=click.FloatRange(0, 1),
    default=1 / 3,
    help="Backbones that cover less are listed apart (default: a third).",
)


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
@POOL
@click.option("--task", type=click.Choice(list(TASKS)), help="Rank by one task instead of All.")
@click.option("--members", is_flag=True, help="Every member of the pool, not the candidates alone.")
@NAMES
@click.option("--format", "form", type=click.Choice(["table", "json", "csv", "markdown"]), default="table")
@ERRATA
@COVERAGE
@STORE
def rank(
    pool: str,
    task: str | None,
    members: bool,
    names: tuple[str, ...],
    form: "Format",
    errata: Errata,
    min_coverage: float,
    store: Path | None,
) -> None:
    """The ranking of a pool, from stored and published scores."""
    from bob_gauntlet import pools, stored
    from bob_gauntlet.artifacts import Artifacts
    from bob_gauntlet.report.layout import render
    from bob_gauntlet.report.ranking import rank as ranked

    home = bob_folder(Path.cwd())
    found = pools.load(pool, home / "baselines", errata)
    own, highlight = stored.of_backbones(Store(store or home / "store"), names, found.members)
    ranking = ranked(
        found,
        own,
        task=task,
        members=members,
        highlight=highlight,
        min_coverage=min_coverage,
        artifacts=Artifacts(home / "artifacts"),
    )
    click.echo(render(ranking, form))


@main.group()
def pool() -> None:
    """Show and freeze the pools that backbones are ranked against."""


@pool.command()
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """Every pool, or who is in pool NAME, in which role and why."""
    from bob_gauntlet import pools

    own = bob_folder(Path.cwd()) / "baselines"
    if name is None:
        found = [pools.load(known, own) for known in pools.files(own)]
        rows = [[p.name, p.scale, len(p.candidates), len(p.members), len(p.references), p.hash] for p in found]
        click.echo(_table(rows, ["pool", "scale", "candidates", "members", "measures", "hash"]))
        return
    found_pool = pools.load(name, own)
    roles = {True: "candidate", False: "reference"}
    about = [(found_pool.backbones[m], roles[m in found_pool.candidates]) for m in found_pool.members]
    rows = [[role, a.name, a.title, a.params, len(found_pool.scores.get(a.name, {})), a.why] for a, role in about]
    click.echo(_table(sorted(rows), ["role", "backbone", "shown as", "params (M)", "measures", "why not ranked"]))
    click.echo(f"\npool {name}, {found_pool.scale} scale, frozen as {found_pool.hash}")
    for note in found_pool.errata:
        click.echo(note)


@pool.command()
@click.argument("name")
@click.option("--max-params", type=float, metavar="M", help="Backbones of fewer than M million parameters only.")
def freeze(name: str, max_params: float | None) -> None:
    """Write pool NAME anew: its members, mean, std and hash. NAME is a baselines folder, or FOLDER-PART for a new part
    of it, such as ours-small with --max-params 30."""
    from bob_gauntlet import pools

    own = bob_folder(Path.cwd()) / "baselines"
    path = pools.file_to_freeze(name, own)
    pools.freeze(path, max_params)
    click.echo(f"{path} is written")


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
    click.echo(_table(rows, headers))


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


def _table(rows: Sequence[Sequence[object]], headers: list[str]) -> str:
    from tabulate import tabulate

    return tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True)


if __name__ == "__main__":
    main()

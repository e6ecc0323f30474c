"""`bob rank`, `bob analyse`, `bob report` and `bob pool`: everything over stored and published scores."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bob_gauntlet.config import bob_folder
from bob_gauntlet.errors import BobError, UsageError
from bob_gauntlet.pools.errata import ErrataMode
from bob_gauntlet.scores.settings import TASKS
from bob_gauntlet.scores.store import Store

if TYPE_CHECKING:
    from bob_gauntlet.analysis import rendering
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


@click.command()
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
    errata: ErrataMode,
    min_coverage: float,
    store: Path | None,
) -> None:
    """The ranking of a pool, from stored and published scores."""
    from bob_gauntlet.ranking.ranking import rank as ranked
    from bob_gauntlet.report.layout import render

    asked = _Asked(pool, names, errata, store)
    ranking = ranked(
        asked.pool,
        asked.own,
        task=task,
        members=members,
        highlighted_members=asked.highlight,
        min_coverage=min_coverage,
        artifacts=asked.artifacts,
    )
    click.echo(render(ranking, form))


@click.command()
@click.argument("name", required=False)
@click.option("--pool", default="paper", show_default=True, help="Baselines: a name or a folder.")
@NAMES
@click.option(
    "--without",
    multiple=True,
    metavar="NAME",
    help="`correlation` once more without this backbone or pretraining method; may be repeated.  "
    "[default: for pool paper MiDaS and MAE, as in the paper]",
)
@ERRATA
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table")
@STORE
def analyse(
    name: str | None,
    pool: str,
    names: tuple[str, ...],
    without: tuple[str, ...],
    errata: ErrataMode,
    form: "rendering.Format",
    store: Path | None,
) -> None:
    """The paper's analysis NAME, or all of them, over a pool and your own backbones. Without NAME: which there are."""
    from bob_gauntlet.analysis import registry, rendering
    from bob_gauntlet.analysis.result import AnalysisOptions
    from bob_gauntlet.ranking.score_table import ScoreTable

    if name is None:
        lines = [(known, recipe.title) for known, recipe in registry.ANALYSES.items()]
        click.echo(table([*lines, (registry.EVERY, "all of them, one after the other")], ["analysis", "question"]))
        return
    wanted = registry.find(name, without)
    asked = _Asked(pool, names, errata, store)
    score_table = ScoreTable.from_pool(asked.pool, asked.own, members=True, highlighted_members=asked.highlight)
    options = AnalysisOptions(without=without or None, own=asked.own, errata=errata)
    analyses = [registry.analyse(each, score_table, options) for each in wanted]
    click.echo(rendering.render(analyses, form, registry.head(score_table, options)))


@click.command()
@POOL
@NAMES
@click.option("-o", "--output", type=click.Path(path_type=Path), default="report.html", show_default=True)
@click.option("--compare", metavar="REF", help="What changed since REF: a file of --bob-json, or saved baselines.")
@ERRATA
@COVERAGE
@STORE
def report(
    pool: str,
    names: tuple[str, ...],
    output: Path,
    compare: str | None,
    errata: ErrataMode,
    min_coverage: float,
    store: Path | None,
) -> None:
    """Write a report on backbones in a pool: .html to look at, .md for a pull request, .csv, .json."""
    from bob_gauntlet.ranking import selection
    from bob_gauntlet.report.content import gather
    from bob_gauntlet.report.writing import check, write

    check(output, "--output")
    if compare and not names:
        raise UsageError(f"--compare {compare} compares nothing; add --backbone NAME")
    asked = _Asked(pool, names, errata, store)
    content = gather(
        asked.pool,
        asked.own,
        highlight=asked.highlight,
        min_coverage=min_coverage,
        before=selection.load_comparison_scores(compare, asked.home / "baselines", names) if compare else (),
        since=compare or "",
        command=shlex.join(["bob", *sys.argv[1:]]),
        artifacts=asked.artifacts,
    )
    try:
        write(output, content)
    except OSError as error:
        raise BobError(f"{output} cannot be written ({error.strerror}); choose another with --output FILE") from error
    click.echo(f"{output} is written")


@click.group()
def pool() -> None:
    """Show and freeze the pools that backbones are ranked against."""


@pool.command()
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """Every pool, or who is in pool NAME, in which role and why."""
    from bob_gauntlet.pools.pool import load_pool, pool_files

    own = bob_folder(Path.cwd()) / "baselines"
    if name is None:
        found = [load_pool(known, own) for known in pool_files(own)]
        rows = [[p.name, p.scale, len(p.candidates), len(p.members), len(p.references), p.hash] for p in found]
        click.echo(table(rows, ["pool", "scale", "candidates", "members", "measures", "hash"]))
        return
    found_pool = load_pool(name, own)
    roles = {True: "candidate", False: "reference"}
    about = [(found_pool.backbones[m], roles[m in found_pool.candidates]) for m in found_pool.members]
    rows = [[role, a.name, a.title, a.params, len(found_pool.scores.get(a.name, {})), a.why] for a, role in about]
    click.echo(table(sorted(rows), ["role", "backbone", "shown as", "params (M)", "measures", "why not ranked"]))
    click.echo(f"\npool {name}, {found_pool.scale} scale, frozen as {found_pool.hash}")
    for note in found_pool.errata:
        click.echo(note)


@pool.command()
@click.argument("name")
@click.option("--max-params", type=float, metavar="M", help="Backbones of fewer than M million parameters only.")
def freeze(name: str, max_params: float | None) -> None:
    """Write pool NAME anew: its members, mean, std and hash. NAME is a baselines folder, or FOLDER-PART for a new part
    of it, such as ours-small with --max-params 30."""
    from bob_gauntlet.pools.pool import file_to_freeze, freeze_pool

    own = bob_folder(Path.cwd()) / "baselines"
    path = file_to_freeze(name, own)
    freeze_pool(path, max_params)
    click.echo(f"{path} is written")


class _Asked:
    """What a command was asked about: a pool, stored backbones, and members of the pool to point out."""

    def __init__(self, pool: str, names: Sequence[str], errata: ErrataMode, store: Path | None) -> None:
        from bob_gauntlet.pools.pool import load_pool
        from bob_gauntlet.ranking import selection
        from bob_gauntlet.runtime.artifacts import Artifacts

        self.home = bob_folder(Path.cwd())
        self.artifacts = Artifacts(self.home / "artifacts")
        self.pool = load_pool(pool, self.home / "baselines", errata)
        self.own, self.highlight = selection.select_backbones(
            Store(store or self.home / "store"), list(dict.fromkeys(names)), self.pool.members
        )


def table(rows: Sequence[Sequence[object]], headers: list[str]) -> str:
    from tabulate import tabulate

    return tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True)

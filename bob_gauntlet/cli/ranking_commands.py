"""`bob rank`, `bob analyse`, `bob report` and `bob pool`: the commands over stored and published scores."""

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

STORE = click.option(
    "--bob-store", "store", type=click.Path(path_type=Path), help="Folder of stored scores.  [default: .bob/store]"
)
POOL = click.option(
    "--pool", default="mini", show_default=True, help="Pool of baseline backbones: a name or a folder of baselines."
)
BACKBONES = click.option(
    "--backbone",
    "names",
    multiple=True,
    metavar="NAME",
    help="Add your own backbone from the store, or highlight a backbone of the pool. Can be repeated.",
)
ERRATA = click.option(
    "--errata",
    type=click.Choice(["applied", "printed", "all"]),
    default="applied",
    show_default=True,
    help="Errors in the paper's tables: applied corrects confirmed errors, printed corrects none, all corrects "
    "suspected errors too.",
)
COVERAGE = click.option(
    "--min-coverage",
    type=click.FloatRange(0, 1),
    default=1 / 3,
    show_default="1/3",
    help="Backbones that cover a smaller share of the measures are listed separately and not ranked.",
)


@click.command()
@POOL
@click.option("--task", type=click.Choice(list(TASKS)), help="Rank by one task instead of All.")
@click.option("--members", is_flag=True, help="Rank all members of the pool, not only its candidates.")
@BACKBONES
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "markdown"]),
    default="table",
    show_default=True,
    help="Output format.",
)
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
    """Rank the backbones of a pool, and your own.

    Backbones are ranked by their mean z-score. Your own backbone has to be measured first: pytest $(bob suites)
    --backbone=NAME
    """
    from bob_gauntlet.ranking.ranking import rank as rank_pool
    from bob_gauntlet.report.layout import render

    inputs = _RankingInputs(pool, names, errata, store)
    ranking = rank_pool(
        inputs.pool,
        inputs.own_scores,
        task=task,
        members=members,
        highlighted_members=inputs.highlighted_members,
        min_coverage=min_coverage,
        artifacts=inputs.artifacts,
    )
    click.echo(render(ranking, form))


@click.command()
@click.argument("name", required=False)
@click.option("--pool", default="paper", show_default=True, help="Pool to analyse: a name or a folder of baselines.")
@BACKBONES
@click.option(
    "--without",
    multiple=True,
    metavar="NAME",
    help="Repeat the analysis `correlation` without this backbone or pretraining method. Can be repeated.  "
    "[default: MiDaS and MAE for pool paper, as in the paper]",
)
@ERRATA
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="Output format.",
)
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
    """Run an analysis of the paper over a pool and your backbones.

    NAME is one of the analyses or `all`. Without NAME, the analyses are listed.
    """
    from bob_gauntlet.analysis import registry, rendering
    from bob_gauntlet.analysis.result import AnalysisOptions
    from bob_gauntlet.ranking.score_table import ScoreTable

    if name is None:
        rows = [(analysis, definition.title) for analysis, definition in registry.ANALYSES.items()]
        click.echo(table([*rows, (registry.RUN_ALL, "Run all analyses.")], ["analysis", "question"]))
        return
    wanted = registry.resolve_names(name, without)
    inputs = _RankingInputs(pool, names, errata, store)
    score_table = ScoreTable.from_pool(
        inputs.pool, inputs.own_scores, members=True, highlighted_members=inputs.highlighted_members
    )
    options = AnalysisOptions(without=without or None, own_scores=inputs.own_scores, errata=errata)
    analyses = [registry.analyse(each, score_table, options) for each in wanted]
    click.echo(rendering.render(analyses, form, registry.header_lines(score_table, options)))


@click.command()
@POOL
@BACKBONES
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default="report.html",
    show_default=True,
    help="File to write; its ending decides the format.",
)
@click.option(
    "--compare",
    metavar="REF",
    help="Show what changed since REF: a file that --bob-json wrote, or a name or folder of baselines.",
)
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
    """Write a report on a pool and your backbones.

    The ending of the output file decides the format: .html for a browser, .md for a pull request, .csv or .json for
    programs.
    """
    from bob_gauntlet.ranking import selection
    from bob_gauntlet.report.content import gather
    from bob_gauntlet.report.writing import check, write

    check(output, "--output")
    if compare and not names:
        raise UsageError(f"--compare {compare} needs a backbone to compare; add --backbone NAME")
    inputs = _RankingInputs(pool, names, errata, store)
    content = gather(
        inputs.pool,
        inputs.own_scores,
        highlight=inputs.highlighted_members,
        min_coverage=min_coverage,
        before=selection.load_comparison_scores(compare, inputs.home / "baselines", names) if compare else (),
        since=compare or "",
        command=shlex.join(["bob", *sys.argv[1:]]),
        artifacts=inputs.artifacts,
    )
    try:
        write(output, content)
    except OSError as error:
        raise BobError(f"{output} cannot be written ({error.strerror}); choose another with --output FILE") from error
    click.echo(f"{output} is written")


@click.group()
def pool() -> None:
    """Show or freeze pools of baseline backbones."""


@pool.command()
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """List all pools, or show the members of pool NAME.

    Candidates are ranked. References are not ranked, and the reason is shown; their scores count in the mean and the
    standard deviation of the pool.
    """
    from bob_gauntlet.pools.pool import load_pool, pool_files

    own_baselines = bob_folder(Path.cwd()) / "baselines"
    if name is None:
        pools = [load_pool(known, own_baselines) for known in pool_files(own_baselines)]
        rows = [[p.name, p.scale, len(p.candidates), len(p.members), len(p.references), p.hash] for p in pools]
        click.echo(table(rows, ["pool", "scale", "candidates", "members", "measures", "hash"]))
        return
    shown = load_pool(name, own_baselines)
    roles = {True: "candidate", False: "reference"}
    members = [(shown.backbones[m], roles[m in shown.candidates]) for m in shown.members]
    rows = [[role, b.name, b.title, b.params, len(shown.scores.get(b.name, {})), b.why] for b, role in members]
    click.echo(table(sorted(rows), ["role", "backbone", "shown as", "params (M)", "measures", "why not ranked"]))
    click.echo(f"\npool {name}, {shown.scale} scale, frozen with hash {shown.hash}")
    for note in shown.errata:
        click.echo(note)


@pool.command()
@click.argument("name")
@click.option("--max-params", type=float, metavar="M", help="Only backbones of fewer than M million parameters.")
def freeze(name: str, max_params: float | None) -> None:
    """Write the file of pool NAME: members, mean, std, and hash.

    NAME is a folder of baselines, or FOLDER-PART for a pool of some of its backbones, for example ours-small with
    --max-params 30.
    """
    from bob_gauntlet.pools.pool import file_to_freeze, freeze_pool

    own_baselines = bob_folder(Path.cwd()) / "baselines"
    path = file_to_freeze(name, own_baselines)
    freeze_pool(path, max_params)
    click.echo(f"{path} is written")


class _RankingInputs:
    """The pool, the scores of own backbones and the pool members to highlight that the options of a command select."""

    def __init__(self, pool: str, names: Sequence[str], errata: ErrataMode, store: Path | None) -> None:
        from bob_gauntlet.pools.pool import load_pool
        from bob_gauntlet.ranking import selection
        from bob_gauntlet.runtime.artifacts import Artifacts

        self.home = bob_folder(Path.cwd())
        self.artifacts = Artifacts(self.home / "artifacts")
        self.pool = load_pool(pool, self.home / "baselines", errata)
        self.own_scores, self.highlighted_members = selection.select_backbones(
            Store(store or self.home / "store"), list(dict.fromkeys(names)), self.pool.members
        )


def table(rows: Sequence[Sequence[object]], headers: list[str]) -> str:
    """Lay out rows as a table for a terminal."""
    from tabulate import tabulate

    return tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True)

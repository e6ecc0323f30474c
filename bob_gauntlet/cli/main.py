"""The `bob` command. Its subcommands show what is known and stored; only `bob baseline refresh` runs the benchmark."""

import sys
from pathlib import Path

import click

from bob_gauntlet import __version__
from bob_gauntlet.backbones.zoo import search
from bob_gauntlet.cli import ranking_commands
from bob_gauntlet.cli.data_commands import data
from bob_gauntlet.cli.export_command import export
from bob_gauntlet.config import bob_folder, bundled
from bob_gauntlet.errors import BobError
from bob_gauntlet.runtime.warning_collector import WarningCollector
from bob_gauntlet.scores.store import Store


class _BobGroup(click.Group):
    """A command group that reports errors the user can fix as one line, with exit code 4 as in pytest."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; print a BobError as one line, and every warning once."""
        warnings = WarningCollector()
        warnings.start()
        try:
            return super().invoke(ctx)
        except BobError as error:
            click.echo(f"bob: {error}", err=True)
            ctx.exit(4)
        finally:
            warnings.stop()
            for line in warnings.lines():
                click.echo(f"bob: warning: {line}", err=True)


@click.group(cls=_BobGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bob")
def main() -> None:
    """Rank pretrained vision backbones.

    To benchmark a backbone, run: pytest $(bob suites) --backbone=NAME. Add --setting 'linear-probe@*' or --task Det for
    a part of the settings.

    The commands below list backbones and datasets, and compare scores that are published or already measured. Only
    `bob baseline refresh` runs the benchmark.
    """


@main.command()
def suites() -> None:
    """Print the folder of the benchmark suites.

    Use it to run the benchmark from any folder: pytest $(bob suites) --backbone=NAME
    """
    click.echo(bundled("suites"))


for _command in (ranking_commands.rank, ranking_commands.analyse, ranking_commands.report, ranking_commands.pool, data):
    main.add_command(_command)
main.add_command(export)


@main.command()
@click.argument("pattern", default="*")
def zoo(pattern: str) -> None:
    """List the known backbones that match PATTERN.

    PATTERN is compared with the name, the pretraining method and the pretraining data; without it, all known backbones
    are listed. `--backbone` also accepts every other timm model name.
    """
    rows = [
        [
            *(entry.name, entry.model, entry.method, entry.data, f"{entry.images:g}", f"{entry.params:.2f}"),
            "-" if entry.gflops is None else f"{entry.gflops:.2f}",
            entry.licence,
        ]
        for entry in search(pattern)
    ]
    if not rows:
        raise BobError(f"no known backbone matches {pattern!r}; `bob zoo` lists all, and every timm name works too")
    headers = ["backbone", "model", "pretraining", "data", "images (M)", "params (M)", "GFLOPs", "licence"]
    click.echo(ranking_commands.table(rows, headers))


@main.command(name="list")
@ranking_commands.STORE
def list_scores(store: Path | None) -> None:
    """List the stored scores, the newest one of each."""
    from bob_gauntlet.scores.score import METRICS

    scores = Store(store or bob_folder(Path.cwd()) / "store").latest().values()
    rows = [
        [
            score.backbone,
            score.setting,
            score.metric,
            f"{score.value:.4g}",
            METRICS[score.metric].unit,
            ", ".join(text for text in (score.cut, score.partial) if text),
            score.provenance.get("started", ""),
        ]
        for score in scores
    ]
    if not rows:
        raise BobError("no scores are stored yet; run: pytest $(bob suites) --backbone=efficientnet_lite0")
    click.echo(ranking_commands.table(rows, ["backbone", "setting", "metric", "value", "unit", "limit", "measured"]))


@main.group()
def baseline() -> None:
    """Update folders of baseline scores."""


@baseline.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("pytest_options", nargs=-1, type=click.UNPROCESSED)
def refresh(name: str, pytest_options: tuple[str, ...]) -> None:
    """Measure the outdated scores of baselines NAME again.

    A score is outdated if its protocol, its dataset or its backbone changed. A refresh that was interrupted continues
    where it stopped. All further options are passed to pytest, for example -n 2, or --setting 'knn@*' and --task Det,
    which measure a part.

    Baselines of published figures (NAME paper) are not measured: they are built again from their tables.
    """
    from bob_gauntlet.pools.refresh import refresh as refresh_baselines

    sys.exit(refresh_baselines(name, pytest_options))

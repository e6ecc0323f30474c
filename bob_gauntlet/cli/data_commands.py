"""`bob data`: which datasets there are, where each is looked for, and whether what lies there is whole."""

import sys
from pathlib import Path

import click

from bob_gauntlet.cli.ranking_commands import table
from bob_gauntlet.config import bob_folder, find_config
from bob_gauntlet.datasets import checking
from bob_gauntlet.datasets.catalog import describe
from bob_gauntlet.datasets.loading import delete_manifest, load
from bob_gauntlet.datasets.locations import DataLocations, find_locations
from bob_gauntlet.datasets.spec import DatasetSpec
from bob_gauntlet.errors import BobError, UsageError
from bob_gauntlet.runtime.artifacts import Artifacts


@click.command()
@click.argument("name", required=False)
@click.option("--data", "root", type=click.Path(path_type=Path), help="The data root, as --bob-data.")
@click.option("--download", is_flag=True, help="Fetch it, where its publisher lets anybody do so.")
@click.option("--verify", is_flag=True, help="Decode every image.")
def data(name: str | None, root: Path | None, download: bool, verify: bool) -> None:
    """Every dataset and whether it is there; or all about dataset NAME, and what is found of it: exit 1 if not all."""
    start = Path.cwd()
    locations = find_locations(find_config(start), start, root, download=download)
    if name is None:
        headers = ["dataset", "scale", "there", "looked for in", "images", "classes", "licence"]
        click.echo(table(checking.overview_rows(locations), headers))
        return
    spec = locations.spec(name)
    if download and not spec.downloadable:
        raise UsageError(f"{name} cannot be fetched by a command; get it from {spec.how_to_get}")
    click.echo(describe(spec))
    looked = checking.describe_locations(spec, locations)
    if looked:
        click.echo(looked)
    if not spec.loader:
        return
    try:
        _found(spec, locations, verify=verify)
    except BobError as error:
        click.echo(f"\nbob: {error}", err=True)
        sys.exit(1)


def _found(spec: DatasetSpec, locations: DataLocations, *, verify: bool) -> None:
    """Print what a dataset holds; its files are walked anew, now and when a session next asks for them."""
    delete_manifest(spec.name, Artifacts(bob_folder(Path.cwd()) / "artifacts"), locations)
    dataset = load(spec.name, locations)
    if dataset.splits:
        click.echo("\n" + table(checking.role_rows(dataset), ["role", "images", "classes", "fingerprint"]))
    for line in checking.object_lines(dataset):
        click.echo(line)
    for subset, indices in dataset.subsets.items():
        click.echo(f"subset {subset} of train: {len(indices):,} images")
    if not verify:
        return
    count = sum(map(len, checking.splits_to_verify(dataset, spec).values()))
    with click.progressbar(length=count, label="decoding", file=sys.stderr) as bar:
        lines = checking.verify_images(dataset, spec, bar.update)
    click.echo("\n".join(lines or ["every image can be read"]))

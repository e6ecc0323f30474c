"""`bob data`: list the datasets, show where each one is looked for, and check its files."""

import sys
import time
from pathlib import Path

import click

from bob_gauntlet.cli.ranking_commands import table
from bob_gauntlet.config import bob_folder, find_config
from bob_gauntlet.datasets import checking
from bob_gauntlet.datasets.catalog import CATALOG, describe
from bob_gauntlet.datasets.file_hashes import FileHashes
from bob_gauntlet.datasets.leaks import find_leaks
from bob_gauntlet.datasets.locations import DataLocations, find_locations
from bob_gauntlet.datasets.manifests import load_dataset
from bob_gauntlet.datasets.spec import DatasetSpec
from bob_gauntlet.errors import BobError, UsageError, named
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.progress import LineProgress, Progress

DOWNLOADABLE = ", ".join(name for name, spec in CATALOG.items() if spec.downloadable)


@click.command()
@click.argument("name", required=False)
@click.option(
    "--data", "root", type=click.Path(path_type=Path), help="Folder of the datasets, like --bob-data of the suites."
)
@click.option("--download", is_flag=True, help=f"Download dataset NAME if it is freely available: {DOWNLOADABLE}.")
@click.option(
    "--verify",
    is_flag=True,
    help="Read all files of dataset NAME again: hash them, even where size and time are as before, decode every image, "
    "and list those that changed or cannot be read.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder that keeps the hashes of the files, like --bob-cache of the suites (default: .bob/artifacts).",
)
def data(name: str | None, root: Path | None, download: bool, verify: bool, cache: Path | None) -> None:
    """List all datasets, or describe and check dataset NAME.

    Without NAME, the table shows for each dataset whether its files are present and where they are looked for. With
    NAME, the files are counted, hashed where they changed, and checked; the exit code is 1 if they are missing or
    incomplete.
    """
    start = Path.cwd()
    locations = find_locations(find_config(start), start, root, download=download)
    if name is None:
        headers = ["dataset", "scale", "present", "looked for in", "images", "classes", "licence"]
        click.echo(table(checking.overview_rows(locations), headers))
        return
    spec = locations.spec(name)
    if download and not spec.downloadable:
        if not locations.roots(name):
            raise UsageError(f"{name} needs no download: {spec.how_to_get}")
        raise UsageError(f"{name} cannot be downloaded by this command; get it from {spec.how_to_get}")
    click.echo(describe(spec))
    searched_paths = checking.describe_locations(spec, locations)
    if searched_paths:
        click.echo(searched_paths)
    if not spec.loader:
        return
    try:
        _print_contents(spec, locations, cache or bob_folder(start) / "artifacts", verify=verify)
    except BobError as error:
        click.echo(f"\nbob: {error}", err=True)
        sys.exit(1)


def _print_contents(spec: DatasetSpec, locations: DataLocations, cache: Path, *, verify: bool) -> None:
    """Print the contents of a dataset. Its files are listed again, and its manifest in `cache` is written anew."""
    progress = LineProgress(sys.stderr) if sys.stderr.isatty() else Progress()
    artifacts = Artifacts(cache)
    hashes = FileHashes(artifacts, progress, since=time.time_ns() if verify else 0)
    dataset = load_dataset(spec.name, artifacts, locations, hashes)
    if dataset.splits:
        click.echo("\n" + table(checking.role_rows(dataset), ["role", "images", "classes", "fingerprint"]))
    for line in checking.object_lines(dataset):
        click.echo(line)
    for subset, indices in dataset.subsets.items():
        click.echo(f"subset {subset} of train: {len(indices):,} images")
    for leak in find_leaks(dataset):
        click.echo(leak.describe(spec.name))
    if hashes.unseen_changes:
        click.echo(
            f"{len(hashes.unseen_changes):,} files have other content than before under the same size and times: "
            f"{named(hashes.unseen_changes)}; settings on {spec.name} will be measured again"
        )
    if not verify:
        return
    count = sum(map(len, checking.splits_to_verify(dataset, spec).values()))
    with click.progressbar(length=count, label="decoding", file=sys.stderr) as bar:
        lines = checking.verify_images(dataset, spec, bar.update)
    click.echo("\n".join(lines or ["every image can be read"]))

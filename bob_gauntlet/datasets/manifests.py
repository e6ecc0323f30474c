"""Fingerprints of datasets without loading them, where a manifest says that nothing has changed.

A manifest is an artefact: role -> fingerprint, under a key that has the state of all files of the dataset. Only
datasets of the catalog have one, because their readers need heavy packages or parse large files. A user's own
datasets are listed at every start, since a list may name files in any folder.
"""

import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bob_gauntlet.datasets import loading
from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.file_hashes import FileHashes
from bob_gauntlet.datasets.folder_state import folder_state
from bob_gauntlet.datasets.image_reader import ImageReader
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.packing import unpack_json
from bob_gauntlet.runtime.schema import json_schema

KIND = "manifests"

SCHEMA = json_schema(dict[str, str])
"""Role -> fingerprint."""


def kept_fingerprints(name: str, artifacts: Artifacts, locations: DataLocations) -> dict[str, str] | None:
    """Return role -> fingerprint from the manifest of a dataset as its files are now; None where there is none."""
    if name in locations.user_datasets:
        return None
    arrays = artifacts.peek(KIND, _key(name, locations)[0], SCHEMA)
    return None if arrays is None else unpack_json(arrays["json"])


def load_dataset(name: str, artifacts: Artifacts, locations: DataLocations, hashes: FileHashes) -> Dataset:
    """Load a dataset, hash its files with `hashes`, and write its manifest anew.

    No manifest is written where the dataset has files outside its folders or hidden ones, which a manifest does not
    cover, or files that were changed a moment ago: a change within the same step of the clock would not be seen.
    """
    if name in locations.user_datasets:
        return loading.load(name, locations, hashes)
    key, settled = _key(name, locations)
    artifacts.path(KIND, key).unlink(missing_ok=True)
    # not so before a download
    is_there = all(root.exists() for root in locations.roots(name).values())
    dataset = loading.load(name, locations, hashes)
    if settled and is_there and _is_covered(dataset, locations):
        artifacts.memo(KIND, key, lambda: dataset.fingerprints, SCHEMA)
    return dataset


def fingerprints(name: str, artifacts: Artifacts, locations: DataLocations) -> dict[str, str]:
    """Return role -> fingerprint of a dataset, from its manifest or from its files."""
    kept = kept_fingerprints(name, artifacts, locations)
    return load_dataset(name, artifacts, locations, FileHashes(artifacts)).fingerprints if kept is None else kept


def _is_covered(dataset: Dataset, locations: DataLocations) -> bool:
    """Tell whether all files of a dataset lie in the folders whose state is in the key, under visible names."""
    roots = list(locations.roots(dataset.name).values())
    readers = [split.image for split in dataset.splits.values() if isinstance(split.image, ImageReader)]
    return all(
        any(reader.root.is_relative_to(root) for root in roots)
        # `..` begins with a dot too
        and not any(path.startswith(".") or "/." in path for path in reader.paths)
        for reader in readers
    )


def _key(name: str, locations: DataLocations) -> tuple[dict[str, Any], bool]:
    """Return the key of a dataset's manifest as its files are now, and whether every later change changes it."""
    spec = locations.spec(name)
    key: dict[str, Any] = {
        "dataset": name,
        "version": spec.version,
        "packages": {package: _version(package) for package in spec.packages},
    }
    paths = list(locations.roots(name).values())
    paths += [locations.folder_of(one).parent / file for one in (name, *spec.needs) for file in CATALOG[one].beside]
    if not paths:
        return key, True
    now = time.time_ns()
    states = {str(path.resolve()): folder_state(path, now) for path in paths}
    return {**key, "files": {path: state.digest for path, state in states.items()}}, all(
        state.settled for state in states.values()
    )


def _version(package: str) -> str:
    """Return the version of an installed package, or "absent"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"

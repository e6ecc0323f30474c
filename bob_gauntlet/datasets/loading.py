"""Loading a dataset by name, its fingerprints without loading it, and cutting it short."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from bob_gauntlet.datasets import user
from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.folder_state import folder_digest
from bob_gauntlet.datasets.locations import DataLocations, default_locations
from bob_gauntlet.errors import MissingError
from bob_gauntlet.runtime.artifacts import Artifacts


def load(name: str, locations: DataLocations | None = None) -> Dataset:
    """The dataset of that name, looked for in `locations`, else in those of the calling folder.

    Raises UsageError for an unknown name, MissingError where its data or its reader is absent, BobError where its
    data are there and wrong.
    """
    locations = locations or default_locations()
    spec = locations.spec(name)
    if name in locations.user_datasets:
        return user.load(locations.user_datasets[name])
    if not spec.loader:
        raise MissingError(f"{name} cannot be read by this version yet; `bob data {name}` says what it is")
    module, function = spec.loader.split(":")
    loader: Callable[..., Dataset] = getattr(import_module(module), function)
    return loader() if spec.scale == "mini" else loader(locations)


def fingerprints(name: str, artifacts: Artifacts, locations: DataLocations | None = None) -> dict[str, str]:
    """Role -> fingerprint, from a manifest where the same files, and the same versions of packages, gave it before.

    A list of the user's own is read anew each time: it may name any file.
    """
    locations = locations or default_locations()
    if name in locations.user_datasets and locations.user_datasets[name].kind == "csv":
        return load(name, locations).fingerprints
    return artifacts.memo("manifests", _manifest(name, locations), lambda: load(name, locations).fingerprints)


def delete_manifest(name: str, artifacts: Artifacts, locations: DataLocations) -> None:
    """Drop the manifest of a dataset, so that its files are walked anew when its fingerprints are asked for."""
    artifacts.path("manifests", _manifest(name, locations)).unlink(missing_ok=True)


def _manifest(name: str, locations: DataLocations) -> dict[str, Any]:
    """The key of a dataset's manifest: what its fingerprints hang on."""
    spec = locations.spec(name)
    key: dict[str, Any] = {
        "dataset": name,
        "version": spec.version,
        "packages": {package: _version(package) for package in spec.packages},
    }
    if name in locations.user_datasets:
        key["table"] = dict(locations.user_datasets[name].table)
    roots = locations.roots(name)
    if roots:
        key["roots"] = {str(root.resolve()): folder_digest(root) for root in roots.values()}
    return key


def limit_dataset(dataset: Dataset, limit: int) -> Dataset:
    """At most `limit` examples of every role, all of the same limit / 2 classes, so that each keeps two or more.

    A subset of train keeps those of its examples that are left; one that keeps none is dropped. Where a head is tested
    under a shift, `test` has no say in what it is trained on: that stays what it is without the shift, and `source` and
    `test` keep those of its classes that both have, else others. Of a dataset for detection the first images with
    objects are kept, and others only where these are too few.
    """
    if not dataset.splits:
        return dataset
    classes = _classes(dataset, limit)
    kept = {role: _kept(split, classes[role], limit) for role, split in dataset.splits.items()}
    splits = {role: split.take(kept[role], f"first {limit}") for role, split in dataset.splits.items()}
    relevance = dataset.relevance
    if relevance is not None:
        pairs = [relevance[query] for query in kept["query"]]
        relevance = tuple((_positions(p, kept["gallery"]), _positions(j, kept["gallery"])) for p, j in pairs)
    subsets = {name: _positions(indices, kept["train"]) for name, indices in dataset.subsets.items()}
    subsets = {name: indices for name, indices in subsets.items() if len(indices)}
    return replace(dataset, splits=splits, relevance=relevance, subsets=subsets)


def _classes(dataset: Dataset, limit: int) -> dict[str, list[int]]:
    """Role -> the classes that it keeps."""
    splits, most = dict(dataset.splits), max(2, limit // 2)
    shifted = splits.pop("test") if "source" in splits else None
    classes = _shared(list(splits.values()))[:most]
    found = dict.fromkeys(splits, classes)
    if shifted is not None:
        both = _shared([shifted, splits["source"]])
        found["source"] = found["test"] = [label for label in both if label in classes] or both[:most]
    return found


def _shared(splits: Sequence[Split]) -> list[int]:
    """The classes of the first split that all have, in the order of their first examples; else all of the first."""
    first, *others = (dict.fromkeys(_labels(split.targets).tolist()) for split in splits)
    return [label for label in first if all(label in other for other in others)] or list(first)


def _labels(targets: np.ndarray) -> np.ndarray:
    """One label an example; multi-label targets count as one class."""
    return targets if targets.ndim == 1 else np.zeros(len(targets), np.int64)


def round_robin_indices(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of the first `count` examples in rounds over the classes: one of each, then a second of each.

    >>> round_robin_indices(np.array([0, 0, 0, 1, 1, 2]), 4).tolist()
    [0, 1, 3, 5]
    """
    order = np.argsort(labels, kind="stable")
    ranked = labels[order]
    rounds = np.empty(len(labels), np.int64)
    rounds[order] = np.arange(len(labels)) - np.searchsorted(ranked, ranked)
    return np.sort(np.argsort(rounds, kind="stable")[:count])


def _kept(split: Split, classes: list[int], limit: int) -> np.ndarray:
    """Indices of the examples of a role that are kept."""
    if split.objects is None:
        return _first(_labels(split.targets), classes, limit)
    empty = ~split.targets.any(axis=1)
    return np.sort(np.argsort(empty, kind="stable")[:limit])


def _first(labels: np.ndarray, classes: list[int], limit: int) -> np.ndarray:
    """The same among the examples of some classes."""
    kept = np.flatnonzero(np.isin(labels, classes))
    return np.asarray(kept[round_robin_indices(labels[kept], limit)])


def _positions(indices: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Where those of `indices` that are kept stand among the kept ones, which are sorted."""
    return np.flatnonzero(np.isin(kept, indices))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"

"""Loading a dataset by name, its fingerprints without loading it, and cutting it short."""

from dataclasses import replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from bob_gauntlet.artifacts import Artifacts
from bob_gauntlet.datasets.catalog import find
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.errors import MissingError


def load(name: str) -> Dataset:
    """The dataset of that name.

    Raises UsageError for an unknown name, MissingError where its data or its reader is absent.
    """
    spec = find(name)
    if not spec.loader:
        raise MissingError(f"{name} cannot be read by this version yet; `bob data {name}` says what it is")
    module, function = spec.loader.split(":")
    dataset: Dataset = getattr(import_module(module), function)()
    return dataset


def fingerprints(name: str, artifacts: Artifacts) -> dict[str, str]:
    """Role -> fingerprint, from a manifest where these versions of its packages have made it before."""
    spec = find(name)
    key = {"dataset": name, "version": spec.version, "packages": {p: _version(p) for p in spec.packages}}
    return artifacts.memo("manifests", key, lambda: load(name).fingerprints)


def limited(dataset: Dataset, limit: int) -> Dataset:
    """At most `limit` examples of every role, all of the same limit / 2 classes, so that each keeps two or more."""
    first = next(iter(dataset.splits.values()), None)
    if first is None:
        return dataset
    classes = list(dict.fromkeys(_labels(first.targets).tolist()))[: max(2, limit // 2)]
    kept = {role: _first(_labels(split.targets), classes, limit) for role, split in dataset.splits.items()}
    splits = {role: split.take(kept[role], f"first {limit}") for role, split in dataset.splits.items()}
    relevance = dataset.relevance
    if relevance is not None:
        pairs = [relevance[query] for query in kept["query"]]
        relevance = tuple((_positions(p, kept["gallery"]), _positions(j, kept["gallery"])) for p, j in pairs)
    return replace(dataset, splits=splits, relevance=relevance)


def _labels(targets: np.ndarray) -> np.ndarray:
    """One label an example; multi-label targets count as one class."""
    return targets if targets.ndim == 1 else np.zeros(len(targets), np.int64)


def _first(labels: np.ndarray, classes: list[int], limit: int) -> np.ndarray:
    """Indices of the first `limit` examples of `classes` in rounds over them: one of each, then a second of each.

    >>> _first(np.array([0, 0, 0, 1, 1, 2]), [0, 1], 3).tolist()
    [0, 1, 3]
    """
    seen: dict[int, int] = {}
    rounds = np.empty(len(labels), np.int64)
    for index, label in enumerate(labels.tolist()):
        rounds[index] = seen.get(label, 0)
        seen[label] = rounds[index] + 1
    kept = np.flatnonzero(np.isin(labels, classes))
    return np.sort(kept[np.argsort(rounds[kept], kind="stable")][:limit])


def _positions(indices: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Where those of `indices` that are kept stand among the kept ones, which are sorted."""
    return np.flatnonzero(np.isin(kept, indices))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"

"""Load a dataset by name, and limit its number of examples."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module

import numpy as np

from bob_gauntlet.datasets import user
from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.file_hashes import FileHashes
from bob_gauntlet.datasets.locations import DataLocations, default_locations
from bob_gauntlet.errors import MissingError


def load(name: str, locations: DataLocations | None = None, hashes: FileHashes | None = None) -> Dataset:
    """Load the dataset `name` from `locations`, by default those of the current folder.

    Its files are listed, and hashed by `hashes`; by default every file is read for that. Raises UsageError for an
    unknown name, MissingError where its data or its reader is absent, BobError where its data is there and wrong.
    """
    locations = replace(locations or default_locations(), hashes=hashes or FileHashes())
    spec = locations.spec(name)
    if name in locations.user_datasets:
        return user.load(locations.user_datasets[name], locations.hashes)
    if not spec.loader:
        raise MissingError(f"this version cannot read {name} yet; `bob data {name}` describes it")
    module, function = spec.loader.split(":")
    loader: Callable[..., Dataset] = getattr(import_module(module), function)
    return loader() if spec.scale == "mini" else loader(locations)


def limit_dataset(dataset: Dataset, limit: int) -> Dataset:
    """Keep at most `limit` examples of every role, all of the same limit / 2 classes, so that each class keeps two.

    Subsets of train keep those of their examples that are left; a subset without any is dropped. In a dataset with a
    `source` role, `test` has shifted images and does not influence what the head is trained on: train is limited as it
    is without the shift, and `source` and `test` keep those of its classes that both have, or other common classes if
    there are none. In a dataset for detection the first images with objects are kept, and images without objects only
    where there are too few with them.
    """
    if not dataset.splits:
        return dataset
    classes_by_role = _kept_classes(dataset, limit)
    kept = {role: _kept_indices(split, classes_by_role[role], limit) for role, split in dataset.splits.items()}
    splits = {role: split.take(kept[role], f"first {limit}") for role, split in dataset.splits.items()}
    relevance = dataset.relevance
    if relevance is not None:
        pairs = [relevance[query] for query in kept["query"]]
        relevance = tuple((_positions(p, kept["gallery"]), _positions(j, kept["gallery"])) for p, j in pairs)
    subsets = {name: _positions(indices, kept["train"]) for name, indices in dataset.subsets.items()}
    subsets = {name: indices for name, indices in subsets.items() if len(indices)}
    return replace(dataset, splits=splits, relevance=relevance, subsets=subsets)


def _kept_classes(dataset: Dataset, limit: int) -> dict[str, list[int]]:
    """Return role -> the classes of which a limited dataset keeps examples."""
    splits, max_classes = dict(dataset.splits), max(2, limit // 2)
    shifted = splits.pop("test") if "source" in splits else None
    classes = _common_classes(list(splits.values()))[:max_classes]
    classes_by_role = dict.fromkeys(splits, classes)
    if shifted is not None:
        common = _common_classes([shifted, splits["source"]])
        trained = [label for label in common if label in classes]
        classes_by_role["source"] = classes_by_role["test"] = trained or common[:max_classes]
    return classes_by_role


def _common_classes(splits: Sequence[Split]) -> list[int]:
    """Return the classes that all splits have, in the order of the first split; all of its classes if none is common.

    Classes are in the order of their first examples.
    """
    first, *others = (dict.fromkeys(_single_labels(split.targets).tolist()) for split in splits)
    return [label for label in first if all(label in other for other in others)] or list(first)


def _single_labels(targets: np.ndarray) -> np.ndarray:
    """Return one label per example; examples with several labels all count as class 0."""
    return targets if targets.ndim == 1 else np.zeros(len(targets), np.int64)


def round_robin_indices(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the sorted indices of `count` examples, taken in turn: the first of each class, then the second of each.

    >>> round_robin_indices(np.array([0, 0, 0, 1, 1, 2]), 4).tolist()
    [0, 1, 3, 5]
    """
    order = np.argsort(labels, kind="stable")
    sorted_labels = labels[order]
    rounds = np.empty(len(labels), np.int64)
    rounds[order] = np.arange(len(labels)) - np.searchsorted(sorted_labels, sorted_labels)
    return np.sort(np.argsort(rounds, kind="stable")[:count])


def _kept_indices(split: Split, classes: list[int], limit: int) -> np.ndarray:
    """Return the indices of at most `limit` examples of these classes; in detection, images with objects come first."""
    if split.objects is not None:
        is_empty = ~split.targets.any(axis=1)
        return np.sort(np.argsort(is_empty, kind="stable")[:limit])
    labels = _single_labels(split.targets)
    candidates = np.flatnonzero(np.isin(labels, classes))
    return np.asarray(candidates[round_robin_indices(labels[candidates], limit)])


def _positions(indices: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return the positions in `kept` (sorted indices) of those of `indices` that are kept."""
    return np.flatnonzero(np.isin(kept, indices))

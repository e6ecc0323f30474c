"""The images that a network is trained on, and those that choose its hyper-parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.partition import NO_VALIDATION_EXAMPLES, partition
from bob_gauntlet.errors import BobError

CARVED_SHARE = 0.1
CARVED_MOST = 10_000
"""Of the training images, where a dataset has no validation split: a tenth, and at most 10,000."""


@dataclass(frozen=True)
class TrainingExamples:
    """Disjoint but under `fidelity="paper"`, where hyper-parameters are chosen on the images that are reported."""

    train: Split
    validation: Split
    validation_is_reported: bool = False

    @property
    def key(self) -> list[str]:
        """What stands for them in the key of an artefact."""
        return [self.train.fingerprint, self.validation.fingerprint]


def training_examples(
    dataset: Dataset, seed: int, *, paper: bool = False, max_carved: int = CARVED_MOST
) -> TrainingExamples:
    """Train and val of a dataset; other seeds than 0 deal them out anew. With `paper`, the original's choice.

    Without val at most `max_carved` images are carved out of train. BobError where nothing is left to choose on.
    """
    train = dataset["train"]
    if paper:
        return TrainingExamples(train, dataset[dataset.reported_role("paper")], validation_is_reported=True)
    if "val" in dataset.splits and seed == 0:
        return TrainingExamples(train, dataset["val"])
    whole = concatenate_splits([dataset[role] for role in ("train", "val") if role in dataset.splits])
    fit, choose = partition(whole.targets, len(train), seed, _carved(whole, max_carved))
    if not len(choose):
        raise BobError(NO_VALIDATION_EXAMPLES)
    return TrainingExamples(whole.take(fit, f"fit, seed {seed}"), whole.take(choose, f"choose, seed {seed}"))


def low_shot_examples(dataset: Dataset, fraction: float, seed: int, *, paper: bool = False) -> TrainingExamples:
    """The same with a fraction of the training images, by class: at least one of each.

    The published list of a dataset is seed 0's draw, unless a limit has left no class two images beyond it. Validation
    images are those of the whole dataset, which the fraction leaves alone: where they are carved out of train, it is
    drawn from the rest.
    """
    whole = training_examples(dataset, seed, paper=paper)
    name = f"{100 * fraction:g}%"
    if seed == 0 and name in dataset.subsets:
        listed = dataset["train"].take(dataset.subsets[name], f"the published {name}")
        if paper or "val" in dataset.splits:
            return TrainingExamples(listed, whole.validation, whole.validation_is_reported)
        rest = np.setdiff1d(np.arange(len(dataset["train"])), dataset.subsets[name])
        beyond = dataset["train"].take(rest, f"beyond the published {name}")
        if len(beyond) > len(np.unique(beyond.targets)):
            _, choose = partition(beyond.targets, len(beyond), seed, _carved(beyond))
            return TrainingExamples(listed, beyond.take(choose, f"choose, seed {seed}"))
    drawn = stratified_sample(whole.train.targets, fraction, seed)
    return TrainingExamples(
        whole.train.take(drawn, f"{name}, seed {seed}"), whole.validation, whole.validation_is_reported
    )


def _carved(split: Split, most: int = CARVED_MOST) -> float:
    """The share of a split that is carved out to choose on."""
    return min(CARVED_SHARE, most / len(split))


def stratified_sample(targets: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Sorted indices of a fraction of every class, at least one of each; of several labels an image, of all images.

    >>> stratified_sample(np.array([0] * 10 + [1] * 30 + [2]), 0.1, seed=0).shape
    (5,)
    """
    rng = np.random.default_rng(seed)
    labels = targets if targets.ndim == 1 else np.zeros(len(targets), np.int64)
    taken = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        taken.append(members[: max(1, round(fraction * len(members)))])
    return np.sort(np.concatenate(taken))


def concatenate_splits(splits: Sequence[Split]) -> Split:
    """Several splits as one, in order."""
    if len(splits) == 1:
        return splits[0]
    starts = np.cumsum([0, *map(len, splits)])

    def image(index: int):  # type: ignore[no-untyped-def]
        part = int(np.searchsorted(starts, index, side="right")) - 1
        return splits[part].image(index - int(starts[part]))

    return Split(
        role="+".join(split.role for split in splits),
        fingerprint="+".join(split.fingerprint for split in splits),
        ids=tuple(name for split in splits for name in split.ids),
        targets=np.concatenate([split.targets for split in splits]),
        image=image,
        clusters=tuple(name for split in splits for name in split.clusters),
        objects=None if splits[0].objects is None else tuple(one for split in splits for one in split.objects or ()),
    )

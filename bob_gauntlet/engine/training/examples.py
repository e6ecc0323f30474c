"""The images that a network is trained on, and the validation images that choose its hyper-parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.partition import NO_VALIDATION_EXAMPLES, partition
from bob_gauntlet.errors import BobError

CARVED_SHARE = 0.1
MAX_CARVED = 10_000
"""Validation images that are carved out of train where a dataset has no validation split: a tenth, at most 10,000."""


@dataclass(frozen=True)
class TrainingExamples:
    """The images of one training: `train` fits the weights, `validation` chooses the hyper-parameters.

    The two splits share no image. Exception: with `fidelity="paper"`, hyper-parameters are chosen on the images whose
    score is reported, as in the original; `validation_is_reported` is then True, and `validation` can be part of train.
    """

    train: Split
    validation: Split
    validation_is_reported: bool = False

    @property
    def key(self) -> list[str]:
        """The fingerprints of both splits, for the key of an artefact."""
        return [self.train.fingerprint, self.validation.fingerprint]


def training_examples(
    dataset: Dataset, seed: int, *, paper: bool = False, max_carved: int = MAX_CARVED
) -> TrainingExamples:
    """Return the train and val splits of a dataset, for seed 0 as they are; other seeds redistribute their images.

    Without a val split, a tenth of train, but at most `max_carved` images, becomes the validation split. With `paper`,
    the validation split is the split on which the original paper reports, for every seed. Raises BobError where no
    image can be spared for validation.
    """
    train = dataset["train"]
    if paper:
        return TrainingExamples(train, dataset[dataset.reported_role("paper")], validation_is_reported=True)
    if "val" in dataset.splits and seed == 0:
        return TrainingExamples(train, dataset["val"])
    whole = concatenate_splits([dataset[role] for role in ("train", "val") if role in dataset.splits])
    train_indices, validation_indices = partition(whole.targets, len(train), seed, _carved_share(whole, max_carved))
    if not len(validation_indices):
        raise BobError(NO_VALIDATION_EXAMPLES)
    return TrainingExamples(
        whole.take(train_indices, f"fit, seed {seed}"), whole.take(validation_indices, f"choose, seed {seed}")
    )


def low_shot_examples(dataset: Dataset, fraction: float, seed: int, *, paper: bool = False) -> TrainingExamples:
    """Return `training_examples` with a fraction of the training images, drawn class by class, at least one of each.

    Seed 0 uses the dataset's published list of that fraction, if there is one. The validation images do not depend on
    the fraction, with one exception: where they are carved out of train, they are drawn from the training images that
    are not on the published list. If those do not hold two images of any class (since `--bob-limit` has left too few),
    the published list is not used.
    """
    whole = training_examples(dataset, seed, paper=paper)
    name = f"{100 * fraction:g}%"
    if seed == 0 and name in dataset.subsets:
        published = dataset["train"].take(dataset.subsets[name], f"the published {name}")
        if paper or "val" in dataset.splits:
            return TrainingExamples(published, whole.validation, whole.validation_is_reported)
        unlisted_indices = np.setdiff1d(np.arange(len(dataset["train"])), dataset.subsets[name])
        unlisted = dataset["train"].take(unlisted_indices, f"beyond the published {name}")
        if len(unlisted) > len(np.unique(unlisted.targets)):
            _, validation_indices = partition(unlisted.targets, len(unlisted), seed, _carved_share(unlisted))
            return TrainingExamples(published, unlisted.take(validation_indices, f"choose, seed {seed}"))
    sampled_indices = stratified_sample(whole.train.targets, fraction, seed)
    return TrainingExamples(
        whole.train.take(sampled_indices, f"{name}, seed {seed}"), whole.validation, whole.validation_is_reported
    )


def _carved_share(split: Split, max_carved: int = MAX_CARVED) -> float:
    """Return the share of a split's images that become the validation split."""
    return min(CARVED_SHARE, max_carved / len(split))


def stratified_sample(targets: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return sorted indices of a random fraction of each class, at least one image of each.

    Where images have several labels, `targets` being (N, C), the fraction is drawn from all images together.

    >>> stratified_sample(np.array([0] * 10 + [1] * 30 + [2]), 0.1, seed=0).shape
    (5,)
    """
    rng = np.random.default_rng(seed)
    labels = targets if targets.ndim == 1 else np.zeros(len(targets), np.int64)
    sampled_indices = []
    for label in np.unique(labels):
        class_indices = rng.permutation(np.flatnonzero(labels == label))
        sampled_indices.append(class_indices[: max(1, round(fraction * len(class_indices)))])
    return np.sort(np.concatenate(sampled_indices))


def concatenate_splits(splits: Sequence[Split]) -> Split:
    """Return one split that holds the images of several splits, in order."""
    if len(splits) == 1:
        return splits[0]
    starts = np.cumsum([0, *map(len, splits)])

    def image(index: int) -> Image.Image:
        part = int(np.searchsorted(starts, index, side="right")) - 1
        return splits[part].image(index - int(starts[part]))

    return Split(
        role="+".join(split.role for split in splits),
        fingerprint="+".join(split.fingerprint for split in splits),
        ids=tuple(name for split in splits for name in split.ids),
        targets=np.concatenate([split.targets for split in splits]),
        image=image,
        clusters=tuple(name for split in splits for name in split.clusters),
        objects=None if splits[0].objects is None else tuple(each for split in splits for each in split.objects or ()),
    )

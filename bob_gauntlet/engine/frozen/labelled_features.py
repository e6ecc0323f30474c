"""Features with their targets, as linear probes and nearest neighbours use them."""

from dataclasses import dataclass

import numpy as np

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.engine.frozen.features import features, features_key
from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class LabelledFeatures:
    """Features (N, D) and targets of the train and validation examples.

    A head is fitted on some of them, and its hyper-parameters are chosen on the others. The first `train` examples are
    the dataset's training split. `targets` are (N,) class indices or (N, C) {0, 1}.
    """

    features: np.ndarray
    targets: np.ndarray
    train: int
    classes: int
    # identifies the features: part of the artefact key of every head that is fitted on them
    key: object


def load_labelled_features(
    backbone: Backbone, dataset: Dataset, input_size: int | None, context: RunContext
) -> LabelledFeatures:
    """Return the features and targets of the train split, and of the val split where the dataset has one."""
    splits = [dataset[role] for role in ("train", "val") if role in dataset.splits]
    transform = backbone.identity.input_transform(input_size)
    return LabelledFeatures(
        features=np.concatenate([features(backbone, split, transform, context) for split in splits]),
        targets=np.concatenate([split.targets for split in splits]),
        train=len(splits[0]),
        classes=len(dataset.classes),
        key=[features_key(backbone, split, transform) for split in splits],
    )

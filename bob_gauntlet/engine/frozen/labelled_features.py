"""The labelled features of a dataset, as probes and neighbours use them."""

from dataclasses import dataclass

import numpy as np

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.engine.frozen.features import features, features_key
from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class LabelledFeatures:
    """Features (N, D) and targets of all examples that may be fitted or chosen on; the first `train` are training."""

    features: np.ndarray
    targets: np.ndarray
    train: int
    classes: int
    # what the features are of: the key under which a head on them is kept
    key: object


def load_labelled_features(
    backbone: Backbone, dataset: Dataset, input_size: int | None, context: RunContext
) -> LabelledFeatures:
    """Features and targets of train, and of val where the dataset has one."""
    splits = [dataset[role] for role in ("train", "val") if role in dataset.splits]
    transform = backbone.identity.input_transform(input_size)
    return LabelledFeatures(
        features=np.concatenate([features(backbone, split, transform, context) for split in splits]),
        targets=np.concatenate([split.targets for split in splits]),
        train=len(splits[0]),
        classes=len(dataset.classes),
        key=[features_key(backbone, split, transform) for split in splits],
    )

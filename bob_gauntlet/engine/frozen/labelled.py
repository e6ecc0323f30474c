"""The labelled features of a dataset, as probes and neighbours use them."""

import numpy as np

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.engine.frozen.features import features, features_key
from bob_gauntlet.engine.frozen.probe import Labelled
from bob_gauntlet.runtime.context import RunContext


def labelled(backbone: Backbone, dataset: Dataset, input_size: int | None, context: RunContext) -> Labelled:
    """Features and targets of train, and of val where the dataset has one."""
    splits = [dataset[role] for role in ("train", "val") if role in dataset.splits]
    transform = backbone.identity.input_transform(input_size)
    return Labelled(
        features=np.concatenate([features(backbone, split, transform, context) for split in splits]),
        targets=np.concatenate([split.targets for split in splits]),
        train=len(splits[0]),
        classes=len(dataset.classes),
        key=[features_key(backbone, split, transform) for split in splits],
    )

"""Which labelled examples fit, and which choose hyper-parameters. The test split is in neither."""

import numpy as np

VALIDATION_SHARE = 0.2
"""Share of the training images that choose hyper-parameters where a dataset has no validation split."""

NO_VALIDATION_EXAMPLES = (
    "no training image can be spared to choose hyper-parameters on, since no class has two; add images, declare a val "
    "split, or raise --bob-limit"
)
"""What is said where the second part is empty."""


def partition(
    targets: np.ndarray, train: int, seed: int, carved: float = VALIDATION_SHARE
) -> tuple[np.ndarray, np.ndarray]:
    """Indices to fit on and to choose on, of labelled examples whose first `train` are the dataset's training split.

    Seed 0 is the data as given. Every other seed deals the same examples out anew, class by class in the same
    proportion. Without a validation split (`train` is all) the share `carved`, a fifth, is carved out, by every seed.

    >>> fit, choose = partition(np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]), train=10, seed=0)
    >>> len(fit), len(choose)
    (8, 2)
    """
    count = len(targets)
    if train < count and seed == 0:
        return np.arange(train), np.arange(train, count)
    share = (count - train) / count if train < count else carved
    rng = np.random.default_rng(seed)
    labels = targets if targets.ndim == 1 else np.zeros(count, np.int64)
    chosen = np.zeros(count, bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        taken = min(max(1, round(share * len(members))), len(members) - 1)
        chosen[members[:taken]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)

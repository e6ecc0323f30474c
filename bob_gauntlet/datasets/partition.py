"""Split labelled examples into a part to fit on and a part to choose hyper-parameters on."""

import numpy as np

VALIDATION_SHARE = 0.2
"""Share of the training images on which hyper-parameters are chosen where a dataset has no validation split."""

NO_VALIDATION_EXAMPLES = (
    "no training image is left to choose hyper-parameters on, since no class has two images; add images, declare a val "
    "split, or raise --bob-limit"
)
"""Message of the error where there is no example to choose hyper-parameters on."""


def partition(
    targets: np.ndarray, train_count: int, seed: int, validation_share: float = VALIDATION_SHARE
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the examples to fit on and of those to choose hyper-parameters on.

    `targets` are those of the training split, the first `train_count`, and of the validation split after it; the test
    split is never among them. With seed 0 both splits stay as they are. Any other seed shuffles the same examples
    within each class and divides them anew in the same proportion. Where there is no validation split, the share
    `validation_share` of each class is taken from the training split, with seed 0 too. Examples with several labels
    are divided as if they were of one class. A class with one example is fitted on and not chosen on.

    >>> fit, choose = partition(np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]), train_count=10, seed=0)
    >>> len(fit), len(choose)
    (8, 2)
    """
    count = len(targets)
    if train_count < count and seed == 0:
        return np.arange(train_count), np.arange(train_count, count)
    share = (count - train_count) / count if train_count < count else validation_share
    rng = np.random.default_rng(seed)
    labels = targets if targets.ndim == 1 else np.zeros(count, np.int64)
    is_chosen_on = np.zeros(count, bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        size = min(max(1, round(share * len(members))), len(members) - 1)
        is_chosen_on[members[:size]] = True
    return np.flatnonzero(~is_chosen_on), np.flatnonzero(is_chosen_on)

"""`noise`: a dataset without images; the efficiency protocol draws its pixels itself."""

from bob_gauntlet.datasets.dataset import Dataset


def load_noise() -> Dataset:
    """No splits: what is timed does not depend on what is seen."""
    return Dataset("noise", {}, classes=())

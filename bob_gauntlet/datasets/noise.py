"""The dataset `noise`, which has no images: the efficiency protocol draws random pixels itself."""

from bob_gauntlet.datasets.dataset import Dataset


def load_noise() -> Dataset:
    """Return a dataset without splits: the speed of a network does not depend on the content of images."""
    return Dataset("noise", {}, classes=())

"""Features and classes that a linear head can separate in part."""

import numpy as np


def overlapping_classes(count: int, width: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (count, width) correlated features of very different scales, and the targets of overlapping classes."""
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % classes
    centres = rng.normal(size=(classes, width))
    mixing = rng.normal(size=(width, width)) * (1 / np.arange(1, width + 1))
    features = (centres[targets] + 2 * rng.normal(size=(count, width))) @ mixing * 10 ** rng.uniform(-2, 2, width)
    return features.astype(np.float32) + 5, targets

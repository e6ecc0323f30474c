"""A backbone that gives an image's own pixels as features, and datasets of coloured images for it."""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.spec import BackboneIdentity, BackboneSpec, InputTransform, Traits
from bob_gauntlet.datasets.dataset import Dataset, Split

SIDE = 2


def pixels() -> Backbone:
    """Features are the 12 values of 2 x 2 pixels, from -1 to 1."""
    identity = BackboneIdentity(
        fingerprint="pixels",
        transform=InputTransform(size=SIDE, mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=1.0),
        traits=Traits(family="conv", pretrained=False, features=12, params=0.125, any_size=False),
    )
    spec = BackboneSpec(name="pixels", text="pixels", scheme="factory", target="a:b")
    return Backbone(spec, nn.Flatten(), identity)


def split(role: str, images: np.ndarray, targets: np.ndarray, clusters: Sequence[str] | None = None) -> Split:
    """(N, 2, 2, 3) uint8 pixels with their targets."""
    ids = tuple(f"{role}-{i}" for i in range(len(images)))
    return Split(role, role, ids, targets, lambda i: Image.fromarray(images[i]), tuple(clusters or ids))


def features_of(images: np.ndarray) -> np.ndarray:
    """What `pixels` gives of (N, 2, 2, 3) uint8 pixels, in float64: channels first, -1 to 1."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), 12) / 127.5 - 1


def coloured(rng: np.random.Generator, targets: np.ndarray, noise: float) -> np.ndarray:
    """(N, 2, 2, 3) uint8: each class has a colour pattern of its own under noise."""
    patterns = np.random.default_rng(99).uniform(90, 165, (targets.max() + 1, SIDE, SIDE, 3))
    return np.clip(patterns[targets] + rng.normal(0, noise, (len(targets), SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


Pixels = dict[str, tuple[np.ndarray, np.ndarray]]


def classification(classes: int = 6, noise: float = 40.0) -> tuple[Dataset, Pixels]:
    """A dataset of 120 training, 36 validation and 96 test images, and its pixels and targets by role."""
    rng = np.random.default_rng(0)
    made = {}
    for role, count in (("train", 120), ("val", 36), ("test", 96)):
        targets = np.arange(count) % classes
        made[role] = coloured(rng, targets, noise), targets
    splits = {role: split(role, *pair) for role, pair in made.items()}
    return Dataset("synthetic", splits, classes=tuple("abcdef"[:classes])), made

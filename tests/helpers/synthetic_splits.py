"""A backbone whose features are the pixels of the image, and datasets of coloured images for it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.spec import BackboneIdentity, BackboneSpec, InputTransform, Traits
from bob_gauntlet.datasets.dataset import Dataset, Split

SIDE = 2


def pixel_backbone() -> Backbone:
    """Return a backbone whose features are the 12 values of 2 x 2 pixels, from -1 to 1."""
    identity = BackboneIdentity(
        fingerprint="pixels",
        transform=InputTransform(size=SIDE, mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=1.0),
        traits=Traits(family="conv", pretrained=False, features=12, params=0.125, any_size=False),
    )
    spec = BackboneSpec(name="pixels", text="pixels", scheme="factory", target="a:b")
    return Backbone(spec, nn.Flatten(), identity)


def split(role: str, images: np.ndarray, targets: np.ndarray, clusters: Sequence[str] | None = None) -> Split:
    """Return a split of (N, 2, 2, 3) uint8 images with their targets; without `clusters`, each image is its own."""
    ids = tuple(f"{role}-{i}" for i in range(len(images)))
    return Split(role, role, ids, targets, lambda i: Image.fromarray(images[i]), tuple(clusters or ids))


def pixel_features(images: np.ndarray) -> np.ndarray:
    """Return the float64 features of (N, 2, 2, 3) uint8 images by `pixel_backbone`: channels first, -1 to 1."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), 12) / 127.5 - 1


def coloured_images(rng: np.random.Generator, targets: np.ndarray, noise: float) -> np.ndarray:
    """Return (N, 2, 2, 3) uint8 images of classes that each have one colour pattern, with noise added."""
    patterns = np.random.default_rng(99).uniform(90, 165, (targets.max() + 1, SIDE, SIDE, 3))
    return np.clip(patterns[targets] + rng.normal(0, noise, (len(targets), SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


ExamplesByRole = dict[str, tuple[np.ndarray, np.ndarray]]
"""Role -> (N, 2, 2, 3) uint8 images and (N,) targets."""


def classification_dataset(classes: int = 6, noise: float = 40.0) -> tuple[Dataset, ExamplesByRole]:
    """Return a dataset of 120 training, 36 validation and 96 test images, and its images and targets by role."""
    rng = np.random.default_rng(0)
    examples: ExamplesByRole = {}
    for role, count in (("train", 120), ("val", 36), ("test", 96)):
        targets = np.arange(count) % classes
        examples[role] = coloured_images(rng, targets, noise), targets
    splits = {role: split(role, *pair) for role, pair in examples.items()}
    return Dataset("synthetic", splits, classes=tuple("abcdef"[:classes])), examples


def train_and_validation_examples(examples: ExamplesByRole) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixel features and the targets of train and val together."""
    return (
        np.concatenate([pixel_features(examples[role][0]) for role in ("train", "val")]),
        np.concatenate([examples[role][1] for role in ("train", "val")]),
    )


def multi_label_dataset() -> tuple[Dataset, ExamplesByRole]:
    """Return the dataset with three labels: the class is odd, the class is above 2, and one that no image has."""
    dataset, examples = classification_dataset()
    labels = {role: np.stack([t % 2, t > 2, 0 * t], axis=1).astype(np.int64) for role, (_, t) in examples.items()}
    splits = {role: replace(s, targets=labels[role]) for role, s in dataset.splits.items()}
    changed = replace(dataset, splits=splits, classes=("odd", "high", "never"), multi_label=True)
    return changed, {role: (examples[role][0], labels[role]) for role in examples}

"""Networks, images and training configurations so small that a training run takes a tenth of a second."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from bob_gauntlet.backbones import loading
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.spec import BackboneIdentity, BackboneSpec, InputTransform, Traits
from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.engine.training.classifier import ClassifierConfig
from bob_gauntlet.engine.training.config import TrainingConfig
from bob_gauntlet.engine.training.data_loader import Augmentation, create_image_loader
from bob_gauntlet.engine.training.examples import TrainingExamples
from bob_gauntlet.engine.training.loop import Trainer
from bob_gauntlet.engine.training.loss import LabelLoss
from bob_gauntlet.engine.training.network import Network

SIDE = 4
HALF = (0.5, 0.5, 0.5)
TRANSFORM = InputTransform(size=SIDE, mean=HALF, std=HALF, crop_pct=1.0)
CROPS = Augmentation(smallest_crop=0.5)


def backbone(*, dropout: float = 0.0, family: Any = "transformer", pretrained: bool = True) -> Backbone:
    """Return a backbone of one layer without BatchNorm, from (B, 3, 4, 4) images to (B, 16) features."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 16), nn.Tanh(), nn.Dropout(dropout))
    traits = Traits(family=family, pretrained=pretrained, features=16, params=0.0008, any_size=False)
    identity = BackboneIdentity(fingerprint=f"tiny {dropout}", transform=TRANSFORM, traits=traits)
    return Backbone(BackboneSpec(name="tiny", text="tiny", scheme="factory", target="a:b"), module, identity)


def timm_backbone(architecture: str) -> Backbone:
    """Return a random timm network at 32 pixels. `test_vit` has drop path, `test_resnet` also BatchNorm."""
    return loading.load(
        BackboneSpec(name=architecture, text="", scheme="random", target=architecture, transform={"size": 32})
    )


def split(count: int, role: str = "train", classes: int = 3, noise: float = 40.0, side: int = 6) -> Split:
    """Return a split of images with noise; the images of each class have one colour pattern."""
    targets = np.arange(count) % classes
    patterns = np.random.default_rng(99).uniform(60, 195, (classes, 2, 2, 3)).repeat(side // 2, 1).repeat(side // 2, 2)
    rng = np.random.default_rng([count, len(role)])
    pixels = np.clip(patterns[targets] + rng.normal(0, noise, (count, side, side, 3)), 0, 255).astype(np.uint8)
    ids = tuple(f"{role}-{i}" for i in range(count))
    return Split(role, f"{role} {count}", ids, targets, lambda i: Image.fromarray(pixels[i]), ids)


def dataset(train: int = 48, val: int = 24, test: int = 48) -> Dataset:
    """Return a dataset with the same colour patterns in every role; with `val` 0 it has no val split."""
    counts = {"train": train, "val": val, "test": test}
    splits = {role: split(count, role) for role, count in counts.items() if count}
    return Dataset("patterns", splits, classes=("a", "b", "c"))


def config(**changes: Any) -> TrainingConfig:
    """Return three epochs of AdamW with one epoch of warm-up, and `changes` of that."""
    defaults: dict[str, Any] = {
        "lr": 1e-2, "weight_decay": 0.05, "layer_decay": None, "epochs": 3, "warmup_epochs": 1, "warmup_lr": 1e-4,
        "min_lr": 1e-6, "micro_batch": 16,
    }  # fmt: skip
    return TrainingConfig(**{**defaults, **changes})


def classifier_config(*configs: TrainingConfig, **changes: Any) -> ClassifierConfig:
    """Return a grid of configurations for three classes and batches of 16, and `changes` of that."""
    defaults: dict[str, Any] = {"augmentation": CROPS, "batch": 16, "transform": TRANSFORM, "classes": 3}
    return ClassifierConfig(configs=configs, **{**defaults, **changes})


def examples() -> TrainingExamples:
    """Return 48 training images and 24 validation images."""
    return TrainingExamples(split(48), split(24, "val"))


def trainer(
    training_config: TrainingConfig,
    network: Network | None = None,
    *,
    images: int = 48,
    seed: int = 0,
    multi_label: bool = False,
) -> Trainer:
    """Return a trainer of the tiny network on 48 images, with three steps in an epoch."""
    if network is None:
        network = Network(backbone(), 3, TRANSFORM)
        network.initialise(seed)
    loader = create_image_loader(split(images), TRANSFORM, CROPS, batch_size=16, seed=seed)
    loss_function = LabelLoss(training_config, 3, multi_label=multi_label)
    return Trainer(network, training_config, loader, loss_function, seed, "cpu")


def train_until_killed(steps: Path, *, loaders: int) -> None:
    """Train the tiny network with loader processes until something ends it; write a file after the first step."""
    network = Network(backbone(), 3, TRANSFORM)
    network.initialise(0)
    loader = create_image_loader(split(48), TRANSFORM, CROPS, batch_size=16, seed=0, workers=loaders)
    endless = config(epochs=10**6)
    training = Trainer(network, endless, loader, LabelLoss(endless, 3, multi_label=False), 0, "cpu")
    while True:
        training.train_epoch(lambda count: None, steps.touch)


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of a network's parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def identical(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Return whether two sets of weights are equal in every bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def network_artefacts(folder: Path) -> dict[str, bytes]:
    """Return the files of trained networks in an artefact folder, by name."""
    return {path.name: path.read_bytes() for path in (folder / "networks").glob("*.safetensors")}

"""Networks, images and plans so small that a whole training run takes a tenth of a second."""

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
    """One layer on 4 x 4 pixels, without BatchNorm: (B, 3, 4, 4) to (B, 16)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 16), nn.Tanh(), nn.Dropout(dropout))
    traits = Traits(family=family, pretrained=pretrained, features=16, params=0.0008, any_size=False)
    identity = BackboneIdentity(fingerprint=f"tiny {dropout}", transform=TRANSFORM, traits=traits)
    return Backbone(BackboneSpec(name="tiny", text="tiny", scheme="factory", target="a:b"), module, identity)


def timm_backbone(architecture: str) -> Backbone:
    """A random timm network at 32 pixels: `test_vit` has drop path, `test_resnet` BatchNorm as well."""
    return loading.load(
        BackboneSpec(name=architecture, text="", scheme="random", target=architecture, transform={"size": 32})
    )


def split(count: int, role: str = "train", classes: int = 3, noise: float = 40.0, side: int = 6) -> Split:
    """Images of as many colour patterns as there are classes, under noise."""
    targets = np.arange(count) % classes
    patterns = np.random.default_rng(99).uniform(60, 195, (classes, 2, 2, 3)).repeat(side // 2, 1).repeat(side // 2, 2)
    rng = np.random.default_rng([count, len(role)])
    pixels = np.clip(patterns[targets] + rng.normal(0, noise, (count, side, side, 3)), 0, 255).astype(np.uint8)
    ids = tuple(f"{role}-{i}" for i in range(count))
    return Split(role, f"{role} {count}", ids, targets, lambda i: Image.fromarray(pixels[i]), ids)


def dataset(train: int = 48, val: int = 24, test: int = 48) -> Dataset:
    """The same colour patterns in every role; `val` may be 0."""
    counts = {"train": train, "val": val, "test": test}
    splits = {role: split(count, role) for role, count in counts.items() if count}
    return Dataset("patterns", splits, classes=("a", "b", "c"))


def config(**changes: Any) -> TrainingConfig:
    """Three epochs of AdamW with one epoch of warm-up."""
    usual: dict[str, Any] = {
        "lr": 1e-2, "weight_decay": 0.05, "layer_decay": None, "epochs": 3, "warmup_epochs": 1, "warmup_lr": 1e-4,
        "min_lr": 1e-6, "micro_batch": 16,
    }  # fmt: skip
    return TrainingConfig(**{**usual, **changes})


def classifier_config(*configs: TrainingConfig, **changes: Any) -> ClassifierConfig:
    """Batches of 16 of three classes."""
    usual: dict[str, Any] = {"augmentation": CROPS, "batch": 16, "transform": TRANSFORM, "classes": 3}
    return ClassifierConfig(configs=configs, **{**usual, **changes})


def examples() -> TrainingExamples:
    """48 images to train on, 24 to choose on."""
    return TrainingExamples(split(48), split(24, "val"))


def trainer(
    made: TrainingConfig, network: Network | None = None, *, images: int = 48, seed: int = 0, multi_label: bool = False
) -> Trainer:
    """A trainer of the tiny network on 48 images, three steps an epoch."""
    if network is None:
        network = Network(backbone(), 3, TRANSFORM)
        network.initialise(seed)
    loader = create_image_loader(split(images), TRANSFORM, CROPS, batch_size=16, seed=seed)
    return Trainer(network, made, loader, LabelLoss(made, 3, multi_label=multi_label), seed, "cpu")


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def identical(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def network_artefacts(folder: Path) -> dict[str, bytes]:
    """The artefacts of trained networks in a folder, by name."""
    return {path.name: path.read_bytes() for path in (folder / "networks").glob("*.safetensors")}

"""What a training run makes smaller: from a batch of examples to a loss."""

from typing import Any, Protocol

import torch
from timm.data.mixup import Mixup
from torch.nn import functional

from bob_gauntlet.engine.training.config import TrainingConfig


class Loss(Protocol):
    """How a trainer handles its stream's batches, whose kind it need not know."""

    def to_device(self, batch: Any, device: str) -> Any:
        """The batch on the device, as a step is to see it."""

    def size(self, batch: Any) -> int:
        """Its examples."""

    def loss(self, network: Any, batch: Any, part: slice) -> torch.Tensor:
        """Of a network's answer to the examples `part` of a batch: summed over them, differentiable."""


class LabelLoss:
    """Classes of images: cross-entropy, with several labels an image logistic loss; mixup and CutMix where planned."""

    def __init__(self, config: TrainingConfig, classes: int, *, multi_label: bool) -> None:
        self.multi_label = multi_label
        mixes = config.mixup > 0 or config.cutmix > 0
        self.smoothing = 0.0 if mixes else config.smoothing
        self.mixup: Any = (
            Mixup(  # type: ignore[no-untyped-call]
                config.mixup,
                config.cutmix,
                label_smoothing=config.smoothing,
                num_classes=classes,
                multi_label=multi_label,
            )
            if mixes
            else None
        )

    def to_device(self, batch: Any, device: str) -> Any:
        """(B, 3, H, W) images and their targets, mixed."""
        images, targets = batch
        images, targets = images.to(device, non_blocking=True), targets.to(device)
        return (images, targets) if self.mixup is None else self.mixup(images, targets)

    def size(self, batch: Any) -> int:
        """Images of the batch."""
        return len(batch[0])

    def loss(self, network: Any, batch: Any, part: slice) -> torch.Tensor:
        """In float32, whatever the precision of the network."""
        images, targets = batch
        logits, targets = network(images[part]).float(), targets[part]
        if self.multi_label:
            each = functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
            return each.mean(dim=1).sum()
        return functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=self.smoothing)

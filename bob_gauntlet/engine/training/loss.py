"""Training losses."""

from typing import Any, Protocol

import torch
from timm.data.mixup import Mixup
from torch.nn import functional

from bob_gauntlet.engine.training.config import TrainingConfig


class Loss(Protocol):
    """The loss of a batch; a trainer that uses it does not need to know what a batch contains."""

    def to_device(self, batch: Any, device: str) -> Any:
        """Return the batch on the device, ready for `loss`."""

    def size(self, batch: Any) -> int:
        """Return the number of examples in the batch."""

    def loss(self, network: Any, batch: Any, part: slice) -> torch.Tensor:
        """Return the network's loss on the examples `part` of a batch, summed over them, with a gradient."""


class LabelLoss:
    """Cross-entropy of class labels, or logistic loss where images have several labels; with mixup and CutMix.

    Mixup, CutMix and label smoothing are used as `config` says.
    """

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
        """Return (B, 3, H, W) images and their targets on the device, after mixup and CutMix."""
        images, targets = batch
        images, targets = images.to(device, non_blocking=True), targets.to(device)
        return (images, targets) if self.mixup is None else self.mixup(images, targets)

    def size(self, batch: Any) -> int:
        """Return the number of images in the batch."""
        return len(batch[0])

    def loss(self, network: Any, batch: Any, part: slice) -> torch.Tensor:
        """Return the loss of the images `part`, summed over them, in float32 whatever the network's precision is."""
        images, targets = batch
        logits, targets = network(images[part]).float(), targets[part]
        if self.multi_label:
            losses = functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
            return losses.mean(dim=1).sum()
        return functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=self.smoothing)

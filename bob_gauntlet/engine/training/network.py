"""A classifier on a backbone that can be trained: a copy of the backbone, and a linear layer on its features."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.build import rebuild
from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.engine.training.trainable import Trainable


class Network(Trainable):
    """Normalised images (B, 3, H, W) to logits (B, C); the backbone that it was made from stays as it is.

    With `frozen` only the layer after the features learns, the backbone stays in evaluation mode, and a BatchNorm
    without parameters stands before the linear layer.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        transform: InputTransform,
        *,
        frozen: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        module = None if frozen or not drop_path else rebuild(backbone, drop_path_rate=drop_path)
        copy = Backbone(backbone.spec, module or deepcopy(backbone.module), backbone.identity, backbone.device)
        super().__init__(copy, frozen=frozen)
        # what the architecture has of the stochastic depth that was asked for
        self.drop_path = 0.0 if module is None else drop_path
        self.body = copy.module
        width = self._width(transform.size)
        head: list[nn.Module] = [nn.BatchNorm1d(width, affine=False, eps=1e-6)] if frozen else []
        self.head = nn.Sequential(*head, nn.Linear(width, classes)).to(backbone.device)

    def initialise(self, seed: int) -> None:
        """Draw the linear layer: as the paper's scripts do, Xavier-normal, or narrow where the backbone is frozen."""
        linear: Any = self.head[-1]
        generator = torch.Generator().manual_seed(seed)
        weight = torch.empty(linear.weight.shape)
        if self.frozen:
            nn.init.trunc_normal_(weight, std=0.01, generator=generator)
        else:
            nn.init.xavier_normal_(weight, generator=generator)
        with torch.no_grad():
            linear.weight.copy_(weight)
            linear.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C) logits."""
        if self.frozen and self.training:
            with torch.no_grad():
                found = self.backbone_copy.embed(images)
        else:
            found = self.backbone_copy.embed(images)
        logits: torch.Tensor = self.head(found)
        return logits

    def parameter_groups(self, weight_decay: float, layer_decay: float | None) -> list[dict[str, Any]]:
        """Optimiser groups: the backbone's with their `lr_scale`, the head's at the full rate; biases do not decay."""
        linear: Any = self.head[-1]
        own: list[dict[str, Any]] = [
            {"params": [linear.weight], "weight_decay": weight_decay},
            {"params": [linear.bias], "weight_decay": 0.0},
        ]
        if self.frozen:
            # timm's LARS adapts the rate of what has weight decay only; here there is none, and the bias is not adapted
            own[0]["always_adapt"] = True
        body = [] if self.frozen else self.backbone_copy.parameter_groups(weight_decay, layer_decay)
        return [*body, *own]

    def _width(self, size: int) -> int:
        """Features of an image, found by asking."""
        with torch.no_grad():
            width = self.backbone_copy.embed(torch.zeros(2, 3, size, size, device=self.backbone_copy.device)).shape[1]
        self.backbone_copy.images_forwarded = 0
        return int(width)

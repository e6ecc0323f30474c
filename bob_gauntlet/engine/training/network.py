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
    """A copy of a backbone with a linear layer: from normalised images (B, 3, H, W) to logits (B, C).

    The given backbone does not change. With `frozen` only the linear layer learns, the copy of the backbone stays in
    evaluation mode, and a BatchNorm without parameters comes before the linear layer.
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
        with torch.no_grad():  # a copy of TorchScript could not be trained otherwise
            copied = module or deepcopy(backbone.module)
        copy = Backbone(backbone.spec, copied, backbone.identity, backbone.device)
        super().__init__(copy, frozen=frozen)
        # 0 where the architecture has no stochastic depth
        self.drop_path = 0.0 if module is None else drop_path
        self.body = copy.module
        width = backbone.width(transform.size)
        head: list[nn.Module] = [nn.BatchNorm1d(width, affine=False, eps=1e-6)] if frozen else []
        self.head = nn.Sequential(*head, nn.Linear(width, classes)).to(backbone.device)

    def initialise(self, seed: int) -> None:
        """Draw the linear layer's weights as the paper's scripts do, and set its bias to 0.

        The weights are Xavier-normal; where the backbone is frozen, truncated normal with standard deviation 0.01.
        """
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
        """Return (B, C) logits."""
        if self.frozen and self.training:
            with torch.no_grad():
                features = self.backbone_copy.embed(images)
        else:
            features = self.backbone_copy.embed(images)
        logits: torch.Tensor = self.head(features)
        return logits

    def parameter_groups(self, weight_decay: float, layer_decay: float | None) -> list[dict[str, Any]]:
        """Return the optimiser's groups: of the backbone with their `lr_scale`, of the head at the full learning rate.

        The bias of the head has no weight decay.
        """
        linear: Any = self.head[-1]
        head_groups: list[dict[str, Any]] = [
            {"params": [linear.weight], "weight_decay": weight_decay},
            {"params": [linear.bias], "weight_decay": 0.0},
        ]
        if self.frozen:
            # timm's LARS adapts the learning rate only of parameters with weight decay. The weight has none here, but
            # its rate has to be adapted; that of the bias has not
            head_groups[0]["always_adapt"] = True
        body_groups = [] if self.frozen else self.backbone_copy.parameter_groups(weight_decay, layer_decay)
        return [*body_groups, *head_groups]

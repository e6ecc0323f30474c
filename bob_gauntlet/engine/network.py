"""A classifier on a backbone that can be trained: a copy of the backbone, and a linear layer on its features."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.build import rebuilt
from bob_gauntlet.backbones.spec import InputTransform


class Network(nn.Module):
    """Normalised images (B, 3, H, W) to logits (B, C); the backbone that it was made from stays as it is.

    With `frozen` only the layer after the features learns, the backbone stays in evaluation mode, and a BatchNorm
    without parameters stands before the linear layer.
    """

    def __init__(
        self, backbone: Backbone, classes: int, transform: InputTransform, *, frozen: bool = False, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.frozen = frozen
        # whether the architecture has the stochastic depth that was asked for
        self.drop_path = 0.0
        module = None if frozen or not drop_path else rebuilt(backbone, drop_path)
        if module is not None:
            self.drop_path = drop_path
        self._body = Backbone(backbone.spec, module or deepcopy(backbone.module), backbone.ticket, backbone.device)
        self.body = self._body.module
        width = self._width(transform.size)
        head: list[nn.Module] = [nn.BatchNorm1d(width, affine=False, eps=1e-6)] if frozen else []
        self.head = nn.Sequential(*head, nn.Linear(width, classes)).to(backbone.device)
        if frozen:
            for parameter in self.body.parameters():
                parameter.requires_grad_(False)

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
                found = self._body.embed(images)
        else:
            found = self._body.embed(images)
        logits: torch.Tensor = self.head(found)
        return logits

    def train(self, mode: bool = True) -> "Network":
        """A frozen backbone stays in evaluation mode: its normalisation statistics and drop-path do not move."""
        super().train(mode)
        if self.frozen:
            self.body.eval()
        return self

    @property
    def images_forwarded(self) -> int:
        """Images that went through the copy of the backbone."""
        return self._body.images_forwarded

    def parameter_groups(self, weight_decay: float, layer_decay: float | None) -> list[dict[str, Any]]:
        """Optimiser groups: the backbone's with their `lr_scale`, and the head at the full rate; biases do not decay."""
        linear: Any = self.head[-1]
        own: list[dict[str, Any]] = [
            {"params": [linear.weight], "weight_decay": weight_decay},
            {"params": [linear.bias], "weight_decay": 0.0},
        ]
        body = [] if self.frozen else self._body.parameter_groups(weight_decay, layer_decay)
        return [*body, *own]

    def learned(self) -> dict[str, torch.Tensor]:
        """Everything that training moves: parameters and buffers of what is not frozen."""
        kept = self.head.state_dict(prefix="head.") if self.frozen else self.state_dict()
        return {name: tensor.detach() for name, tensor in kept.items()}

    def load_learned(self, learned: dict[str, torch.Tensor]) -> None:
        """The inverse of `learned`."""
        missing, unexpected = self.load_state_dict(learned, strict=not self.frozen)
        assert not unexpected and not [name for name in missing if name.startswith("head.")]

    def _width(self, size: int) -> int:
        """Features of an image, found by asking."""
        with torch.no_grad():
            width = self._body.embed(torch.zeros(2, 3, size, size, device=self._body.device)).shape[1]
        self._body.images_forwarded = 0
        return int(width)

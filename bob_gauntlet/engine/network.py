"""A classifier on a backbone that can be trained: a copy of the backbone, and a linear layer on its features."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.build import rebuilt
from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.errors import BobError


class Network(nn.Module):
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
        for parameter in self.body.parameters():
            # also those that a user's factory left frozen
            parameter.requires_grad_(not frozen and parameter.is_floating_point())

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

    def check_gradients(self) -> None:
        """BobError where, after a backward pass, no weight of a backbone that learns has a gradient."""
        learning = [] if self.frozen else list(self.body.parameters())
        if learning and all(parameter.grad is None for parameter in learning):
            raise BobError(self._stuck("its forward gives a result without one"))

    @contextmanager
    def differentiable(self) -> Iterator[None]:
        """What fails inside, in the first step, is differentiation: BobError in one line."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise BobError(self._stuck(str(error).partition("\n")[0])) from error

    def _stuck(self, reason: str) -> str:
        return (
            f"{self._body.name} cannot be trained: no gradient of the loss reaches its weights ({reason}); its forward "
            "has to stay in torch, without detach, no_grad or NumPy"
        )

    @property
    def images_forwarded(self) -> int:
        """Images that went through the copy of the backbone."""
        return self._body.images_forwarded

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
        body = [] if self.frozen else self._body.parameter_groups(weight_decay, layer_decay)
        return [*body, *own]

    def learned(self) -> dict[str, torch.Tensor]:
        """Everything that training moves: parameters and buffers of what is not frozen."""
        kept = self.head.state_dict(prefix="head.") if self.frozen else self.state_dict()
        return {name: tensor.detach() for name, tensor in kept.items()}

    def load_learned(self, learned: dict[str, torch.Tensor]) -> None:
        """The inverse of `learned`."""
        missing, unexpected = self.load_state_dict(learned, strict=not self.frozen)
        assert not unexpected, unexpected
        assert not any(name.startswith("head.") for name in missing), missing

    def _width(self, size: int) -> int:
        """Features of an image, found by asking."""
        with torch.no_grad():
            width = self._body.embed(torch.zeros(2, 3, size, size, device=self._body.device)).shape[1]
        self._body.images_forwarded = 0
        return int(width)

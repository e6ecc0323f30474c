"""The base class of networks that contain a copy of a backbone and can be trained, with the backbone or without."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.errors import BobError


class Trainable(nn.Module, ABC):
    """The methods that a trainer needs of a network, a classifier or a detector, that contains a copy of a backbone.

    With `frozen` the copy of the backbone stays in evaluation mode and none of its tensors changes. The names of its
    parameters in the network begin with `backbone_prefix`.
    """

    backbone_prefix = "body."
    # rate of stochastic depth in the copy
    drop_path = 0.0

    def __init__(self, copy: Backbone, *, frozen: bool) -> None:
        super().__init__()
        self.frozen = frozen
        self.backbone_copy = copy
        for parameter in copy.module.parameters():
            # a user's factory may return a backbone with frozen parameters: they are trained too
            parameter.requires_grad_(not frozen and parameter.is_floating_point())

    @abstractmethod
    def parameter_groups(self, weight_decay: float, layer_decay: float | None) -> list[dict[str, Any]]:
        """Return the optimiser's groups of the parameters that are trained."""

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; a frozen backbone stays in evaluation mode, without drop path and new statistics."""
        super().train(mode)
        if self.frozen:
            self.backbone_copy.module.eval()
        return self

    def check_gradients(self) -> None:
        """Raise BobError where after a backward pass no weight of a trained backbone has a gradient."""
        trained_parameters = [] if self.frozen else list(self.backbone_copy.module.parameters())
        if trained_parameters and all(parameter.grad is None for parameter in trained_parameters):
            raise BobError(self._no_gradient_message("its forward gives a result without one"))

    @contextmanager
    def explain_gradient_errors(self) -> Iterator[None]:
        """Turn a RuntimeError inside the block into a BobError in one line that says what a forward may not do.

        Use it around the first step: there, only differentiation can fail.
        """
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise BobError(self._no_gradient_message(str(error).partition("\n")[0])) from error

    def _no_gradient_message(self, reason: str) -> str:
        return (
            f"{self.backbone_copy.name} cannot be trained: no gradient of the loss reaches its weights ({reason}); its "
            "forward has to stay in torch, without detach, no_grad or NumPy"
        )

    def learned_state(self) -> dict[str, torch.Tensor]:
        """Return everything that training changes: parameters and buffers that are not frozen, by name."""
        state = self.state_dict()
        return {name: tensor.detach() for name, tensor in state.items() if not self._is_frozen(name)}

    def load_learned_state(self, learned_state: dict[str, torch.Tensor]) -> None:
        """Set the tensors that `learned_state` returned. Raises ValueError where one is missing or unknown."""
        missing, unexpected = self.load_state_dict(learned_state, strict=False)
        misplaced = [*unexpected, *(name for name in missing if not self._is_frozen(name))]
        if misplaced:
            raise ValueError(f"{misplaced[0]} is missing or unknown")

    def _is_frozen(self, name: str) -> bool:
        return self.frozen and name.startswith(self.backbone_prefix)

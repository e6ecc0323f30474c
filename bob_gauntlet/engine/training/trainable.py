"""A network that stands on a copy of a backbone and can be trained, with the backbone or on it frozen."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.errors import BobError


class Trainable(nn.Module, ABC):
    """What a trainer asks of a network, whatever stands on the backbone.

    With `frozen` the copy of the backbone stays in evaluation mode and none of its tensors changes. `copy` is the
    copy; its module lies at `backbone_prefix` among the parameters.
    """

    backbone_prefix = "body."
    # stochastic depth of the copy
    drop_path = 0.0

    def __init__(self, copy: Backbone, *, frozen: bool) -> None:
        super().__init__()
        self.frozen = frozen
        self.backbone_copy = copy
        for parameter in copy.module.parameters():
            # also those that a user's factory left frozen
            parameter.requires_grad_(not frozen and parameter.is_floating_point())

    @abstractmethod
    def parameter_groups(self, weight_decay: float, layer_decay: float | None) -> list[dict[str, Any]]:
        """Optimiser groups of what learns."""

    def train(self, mode: bool = True) -> Self:
        """A frozen backbone stays in evaluation mode: its normalisation statistics and drop-path do not move."""
        super().train(mode)
        if self.frozen:
            self.backbone_copy.module.eval()
        return self

    def check_gradients(self) -> None:
        """BobError where, after a backward pass, no weight of a backbone that learns has a gradient."""
        learning = [] if self.frozen else list(self.backbone_copy.module.parameters())
        if learning and all(parameter.grad is None for parameter in learning):
            raise BobError(self._stuck("its forward gives a result without one"))

    @contextmanager
    def explain_gradient_errors(self) -> Iterator[None]:
        """What fails inside, in the first step, is differentiation: BobError in one line."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise BobError(self._stuck(str(error).partition("\n")[0])) from error

    def _stuck(self, reason: str) -> str:
        return (
            f"{self.backbone_copy.name} cannot be trained: no gradient of the loss reaches its weights ({reason}); its "
            "forward has to stay in torch, without detach, no_grad or NumPy"
        )

    @property
    def images_forwarded(self) -> int:
        """Images that went through the copy of the backbone."""
        return self.backbone_copy.images_forwarded

    def learned_state(self) -> dict[str, torch.Tensor]:
        """Everything that training moves: parameters and buffers of what is not frozen."""
        kept = self.state_dict()
        return {name: tensor.detach() for name, tensor in kept.items() if not self._stays(name)}

    def load_learned_state(self, learned_state: dict[str, torch.Tensor]) -> None:
        """The inverse of `learned_state`."""
        missing, unexpected = self.load_state_dict(learned_state, strict=False)
        assert not unexpected, unexpected
        assert all(self._stays(name) for name in missing), missing

    def _stays(self, name: str) -> bool:
        return self.frozen and name.startswith(self.backbone_prefix)

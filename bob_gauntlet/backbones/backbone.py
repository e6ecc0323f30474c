"""A loaded backbone: images in, features out. The heavy side of `backbones.spec`."""

from typing import Any

import torch
from torch import nn

from bob_gauntlet.backbones.spec import BackboneIdentity, BackboneSpec
from bob_gauntlet.errors import BobError, MissingError


class Backbone:
    """A network in evaluation mode with its ticket (fingerprint, input transform, traits).

    >>> from bob_gauntlet.backbones.loading import load
    >>> backbone = load(BackboneSpec(name="r", text="", scheme="random", target="test_resnet"))
    >>> backbone.embed(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 96])
    """

    def __init__(self, spec: BackboneSpec, module: nn.Module, identity: BackboneIdentity, device: str = "cpu") -> None:
        self.spec = spec
        self.identity = identity
        self.device = device
        self.images_forwarded = 0
        self.module = module.to(device).eval()
        if identity.traits.family == "conv":
            self.module = self.module.to(memory_format=torch.channels_last)

    @property
    def name(self) -> str:
        """The name under which it is reported."""
        return self.spec.name

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalised images to (B, D) pooled pre-logits features.

        timm networks: `forward_head(..., pre_logits=True)`. Others: what forward gives; maps (B, C, H, W) are averaged
        over space, and of token sequences (B, N, D) the first, the class token, is taken.
        """
        self.images_forwarded += len(images)
        images = self._laid_out(images)
        if hasattr(self.module, "forward_features") and hasattr(self.module, "forward_head"):
            network: Any = self.module
            found: Any = network.forward_head(network.forward_features(images), pre_logits=True)
        else:
            found = self.module(images)
        return self._pooled(found, len(images))

    def feature_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(B, C, H, W) maps, one for each of `identity.traits.strides`; MissingError where the network has none.

        A network of one stride gives its last map, after its final norm.
        """
        if not self.identity.traits.strides:
            raise MissingError(f"{self.name} gives no feature maps; detection needs them")
        self.images_forwarded += len(images)
        intermediates: Any = self.module.forward_intermediates
        indices = map_indices(self.module)
        maps: list[torch.Tensor] = intermediates(
            self._laid_out(images), indices=indices, norm=len(indices) == 1, output_fmt="NCHW", intermediates_only=True
        )
        return maps

    def parameter_groups(self, weight_decay: float, layer_decay: float | None = None) -> list[dict[str, Any]]:
        """Optimiser groups: no decay for biases and norms; learning rates scaled by layer_decay ** depth, if given."""
        from timm.optim import (  # type: ignore[attr-defined]
            param_groups_layer_decay,
            param_groups_weight_decay,
        )

        undecayed: Any = getattr(self.module, "no_weight_decay", tuple)
        skip = undecayed()
        if layer_decay is None:
            groups = param_groups_weight_decay(self.module, weight_decay, no_weight_decay_list=skip)
        else:
            groups = param_groups_layer_decay(
                self.module, weight_decay, no_weight_decay_list=skip, layer_decay=layer_decay
            )
        found: list[dict[str, Any]] = groups
        return found

    def _laid_out(self, images: torch.Tensor) -> torch.Tensor:
        if self.identity.traits.family == "conv":
            return images.contiguous(memory_format=torch.channels_last)
        return images

    def _pooled(self, found: Any, count: int) -> torch.Tensor:
        if not isinstance(found, torch.Tensor) or found.ndim not in (2, 3, 4) or len(found) != count:
            shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise BobError(
                f"{self.name}: forward gave {shape} for {count} images; a factory's module has to return (B, D), "
                "(B, N, D) or (B, C, H, W)"
            )
        if found.ndim == 4:
            return found.mean(dim=(2, 3))
        return found[:, 0] if found.ndim == 3 else found


def map_indices(module: nn.Module) -> list[int]:
    """The last intermediate of every stride, for `forward_intermediates`; [] where the module has none."""
    reductions = map_reductions(module)
    return [len(reductions) - 1 - reductions[::-1].index(stride) for stride in sorted(set(reductions))]


def map_reductions(module: nn.Module) -> list[int]:
    """The stride of each intermediate, in order."""
    info: Any = getattr(module, "feature_info", None)
    if info is None or not hasattr(module, "forward_intermediates"):
        return []
    return [int(i["reduction"]) for i in info] if isinstance(info, list) else list(info.reduction())

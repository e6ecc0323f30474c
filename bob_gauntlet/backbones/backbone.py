"""A loaded backbone, which turns images into features. Imports torch; `backbones.spec` describes it without torch."""

from typing import Any

import torch
from torch import nn

from bob_gauntlet.backbones.spec import BackboneIdentity, BackboneSpec
from bob_gauntlet.errors import BobError, MissingError


class Backbone:
    """A network in evaluation mode, with its identity (fingerprint, input transform, traits).

    >>> from bob_gauntlet.backbones.loading import load
    >>> backbone = load(BackboneSpec(name="r", text="", scheme="random", target="test_resnet"))
    >>> backbone.embed(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 96])
    """

    def __init__(self, spec: BackboneSpec, module: nn.Module, identity: BackboneIdentity, device: str = "cpu") -> None:
        self.spec = spec
        self.identity = identity
        self.device = device
        self.module = module.to(device).eval()
        if identity.traits.family == "conv":
            set_channels_last(self.module)
        self._widths: dict[int, int] = {}

    @property
    def name(self) -> str:
        """The name under which the backbone is reported."""
        return self.spec.name

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the (B, D) pooled pre-logits features of (B, 3, H, W) normalised images.

        A timm network runs `forward_head(..., pre_logits=True)`. Of any other module the output of `forward` is used:
        (B, C, H, W) maps are averaged over space, and of a (B, N, D) token sequence the first token, the class token,
        is taken. Raises BobError where the output has another shape.
        """
        features = self.pool(self.forward(images), len(images))
        self._widths[images.shape[-1]] = features.shape[1]
        return features

    def width(self, size: int) -> int:
        """Return the width D of the features of images of `size` x `size` pixels.

        It makes a forward pass where there was none at this size yet. The traits state a width too, but not of every
        network, and some architectures give features of another one.
        """
        if size not in self._widths:
            # two images, since some networks drop the first dimension of a batch of one
            images = torch.zeros(2, 3, size, size, device=self.device)
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                self.embed(images)
        return self._widths[size]

    def forward(self, images: torch.Tensor) -> Any:
        """Return the features of a timm network, and whatever the `forward` of any other module returns."""
        images = self._set_memory_format(images)
        if hasattr(self.module, "forward_features") and hasattr(self.module, "forward_head"):
            network: Any = self.module
            return network.forward_head(network.forward_features(images), pre_logits=True)
        return self.module(images)

    def feature_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return (B, C, H, W) maps, one for each of `identity.traits.strides`.

        A network with one stride returns its last map, after its final norm. Raises MissingError where the network
        gives no feature maps.
        """
        if not self.identity.traits.strides:
            raise MissingError(f"{self.name} gives no feature maps; detection needs them")
        intermediates: Any = self.module.forward_intermediates
        indices = map_indices(self.module)
        maps: list[torch.Tensor] = intermediates(
            self._set_memory_format(images),
            indices=indices,
            norm=len(indices) == 1,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return maps

    def parameter_groups(self, weight_decay: float, layer_decay: float | None = None) -> list[dict[str, Any]]:
        """Return optimiser groups with their weight decay, which is 0 for biases and norms.

        With `layer_decay`, the learning rate of a layer is scaled by layer_decay ** (number of layers after it).
        """
        from timm.optim import (  # type: ignore[attr-defined]
            param_groups_layer_decay,
            param_groups_weight_decay,
        )

        list_undecayed: Any = getattr(self.module, "no_weight_decay", tuple)
        undecayed = list_undecayed()
        if layer_decay is None:
            groups = param_groups_weight_decay(self.module, weight_decay, no_weight_decay_list=undecayed)
        else:
            groups = param_groups_layer_decay(
                self.module, weight_decay, no_weight_decay_list=undecayed, layer_decay=layer_decay
            )
        parameter_groups: list[dict[str, Any]] = groups
        return parameter_groups

    def _set_memory_format(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images in the memory format of the network: channels last for convolutional networks."""
        if self.identity.traits.family == "conv":
            return images.contiguous(memory_format=torch.channels_last)
        return images

    def pool(self, output: Any, count: int) -> torch.Tensor:
        """Return (B, D) features of an output of `forward`; BobError where it has no such shape for `count` images."""
        if not isinstance(output, torch.Tensor) or output.ndim not in (2, 3, 4) or len(output) != count:
            shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise BobError(
                f"{self.name}: forward gave {shape} for {count} images; a factory's module has to return (B, D), "
                "(B, N, D) or (B, C, H, W)"
            )
        if output.ndim == 4:
            return output.mean(dim=(2, 3))
        return output[:, 0] if output.ndim == 3 else output


def set_channels_last(module: nn.Module) -> None:
    """Put the parameters and buffers of convolutions over images in channels-last memory format.

    torch's own `Module.to` fails on weights of 5 dimensions, such as those of a Conv3d.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)


def map_indices(module: nn.Module) -> list[int]:
    """Return the index of the last intermediate of every stride, as `forward_intermediates` takes them.

    The list is empty where the module has no intermediates.
    """
    reductions = map_reductions(module)
    return [len(reductions) - 1 - reductions[::-1].index(stride) for stride in sorted(set(reductions))]


def map_reductions(module: nn.Module) -> list[int]:
    """Return the stride of each intermediate, in order; [] where the module has no intermediates."""
    info: Any = getattr(module, "feature_info", None)
    if info is None or not hasattr(module, "forward_intermediates"):
        return []
    return [int(i["reduction"]) for i in info] if isinstance(info, list) else list(info.reduction())

"""Tests of a loaded backbone: features, feature maps and optimiser groups."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone, map_indices, map_reductions
from bob_gauntlet.backbones.loading import load
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.backbones.spec import BackboneIdentity, BackboneSpec, InputTransform, Traits
from bob_gauntlet.config import UserConfig
from bob_gauntlet.errors import BobError, MissingError

TIMM = ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"]


def random_backbone(name: str) -> Backbone:
    """Return a random initialisation, resolved and loaded as a user's backbone is."""
    return load(resolve(f"random:{name}", UserConfig(Path("/"))))


def images(count: int = 2, size: int = 64) -> torch.Tensor:
    """Return seeded noise."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


class OfVideos(nn.Module):
    """A network with a weight of five dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Conv2d(3, 4, 3)
        self.deep = nn.Conv3d(1, 1, 3, padding=1)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Return maps."""
        return self.deep(self.flat(batch)[:, None])[:, 0]


def test_weights_of_five_dimensions_are_loaded() -> None:
    """Only weights of four dimensions are put in channels-last format; the features stay those of the network."""
    module = OfVideos()
    expected = module(images()).mean(dim=(2, 3))
    spec = BackboneSpec(name="x", text="x", scheme="factory", target="a:b")
    traits = Traits(family="conv", pretrained=True, features=4, params=1.0)
    identity = BackboneIdentity(fingerprint="f", transform=InputTransform(size=64), traits=traits)
    backbone = Backbone(spec, module, identity)
    assert module.flat.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(backbone.embed(images()), expected)


class FixedOutput(nn.Module):
    """A module whose output does not depend on its input."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, batch: torch.Tensor) -> Any:
        """Return the fixed output."""
        return self.output


def wrap(module: nn.Module) -> Backbone:
    """Return a backbone around any module."""
    traits = Traits(family="transformer", pretrained=False, features=0, params=0)
    identity = BackboneIdentity(fingerprint="f", transform=InputTransform(size=64), traits=traits)
    return Backbone(BackboneSpec(name="mine", text="m:f", scheme="factory", target="m:f"), module, identity)


@pytest.mark.parametrize("name", TIMM)
def test_features_equal_timms(name: str) -> None:
    """Features equal the output of timm's forward with num_classes=0 (timm docs, feature extraction, pooled)."""
    backbone = random_backbone(name)
    with torch.inference_mode():
        features = backbone.embed(images())
        assert features.shape == (2, backbone.identity.traits.features)
        torch.testing.assert_close(features, backbone.module(images()))
    assert not backbone.module.training


@pytest.mark.parametrize("name", TIMM)
def test_feature_maps_have_the_strides_of_the_traits(name: str) -> None:
    """There is one (B, C, H / stride, W / stride) map for each stride, the finest first."""
    backbone = random_backbone(name)
    with torch.inference_mode():
        maps = backbone.feature_maps(images(size=64))
    assert backbone.identity.traits.strides
    assert [64 // m.shape[-1] for m in maps] == list(backbone.identity.traits.strides)
    assert all(m.shape[0] == 2 and m.shape[-1] == m.shape[-2] for m in maps)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_the_coarsest_map_is_that_of_the_last_layer(name: str) -> None:
    """The last map of a stride is used, after the final norm where there is only one stride."""
    backbone = random_backbone(name)
    has_one_stride = len(backbone.identity.traits.strides) == 1
    assert has_one_stride == (name == "test_vit")
    with torch.inference_mode():
        last = backbone.module.forward_intermediates(  # type: ignore[operator]
            images(), norm=has_one_stride, output_fmt="NCHW", intermediates_only=True
        )[-1]
        torch.testing.assert_close(backbone.feature_maps(images())[-1], last)


def test_reductions_choose_the_last_of_each_stride() -> None:
    """Of the strides 4, 8, 8, 16, 16 at indices 0 to 4 the last ones are at 0, 2 and 4."""
    module = nn.Module()
    module.feature_info = [{"reduction": r} for r in (4, 8, 8, 16, 16)]  # type: ignore[assignment]
    module.forward_intermediates = lambda: None  # type: ignore[assignment]
    assert map_indices(module) == [0, 2, 4]
    assert map_reductions(nn.Identity()) == []


def test_a_network_without_maps_raises_missing_error() -> None:
    """A network without feature maps raises MissingError, so that detection is skipped with this reason."""
    with pytest.raises(MissingError, match="mine gives no feature maps"):
        wrap(nn.Identity()).feature_maps(images())


# mean over 2 x 2 of 0..3 is 1.5, of 4..7 is 5.5; token 0 of (1, 3, 2) is the first pair
@pytest.mark.parametrize(
    ("output", "features"),
    [
        (torch.arange(8.0).reshape(1, 2, 2, 2), [[1.5, 5.5]]),
        (torch.arange(6.0).reshape(1, 3, 2), [[0.0, 1.0]]),
        (torch.tensor([[3.0, 4.0]]), [[3.0, 4.0]]),
    ],
    ids=["maps", "tokens", "vectors"],
)
def test_the_output_of_a_users_module_is_pooled(output: torch.Tensor, features: list[list[float]]) -> None:
    """Maps are averaged over space, and of tokens the first, the class token, is used."""
    assert wrap(FixedOutput(output)).embed(images(1)).tolist() == features


@pytest.mark.parametrize("output", [torch.zeros(3), torch.zeros(2, 5), (torch.zeros(1, 5),), {"x": 1}, None], ids=repr)
def test_any_other_output_is_refused_with_its_shape(output: Any) -> None:
    """The error is one line that states which shapes may be returned."""
    with pytest.raises(BobError, match=r"^mine: forward gave .* for 1 images; .*has to return \(B, D\)"):
        wrap(FixedOutput(output)).embed(images(1))


@pytest.mark.parametrize("layer_decay", [None, 0.5])
@pytest.mark.parametrize("name", TIMM)
def test_every_parameter_is_in_one_group(name: str, layer_decay: float | None) -> None:
    """Weights have weight decay; biases, norms and the parameters that the network itself excludes have none."""
    backbone = random_backbone(name)
    groups = backbone.parameter_groups(0.05, layer_decay)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in backbone.module.parameters())
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    excluded = backbone.module.no_weight_decay() if hasattr(backbone.module, "no_weight_decay") else ()  # type: ignore[operator]
    for parameter_name, parameter in backbone.module.named_parameters():
        is_undecayed = parameter.ndim <= 1 or parameter_name in excluded
        assert decay[id(parameter)] == (0.0 if is_undecayed else 0.05), parameter_name


def test_layer_decay_scales_by_depth() -> None:
    """Block i of n is scaled by decay ** (n - i) (Bao et al., BEiT, 2021, 3.2), 0.5 from block to block."""
    backbone = random_backbone("test_vit,depth=3")
    groups = backbone.parameter_groups(0.05, 0.5)
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    parameters = dict(backbone.module.named_parameters())
    blocks = [scale[id(parameters[f"blocks.{i}.attn.qkv.weight"])] for i in range(3)]
    stem = scale[id(parameters["patch_embed.proj.weight"])]
    assert [blocks[0] / stem, blocks[1] / blocks[0], blocks[2] / blocks[1]] == [2.0, 2.0, 2.0]
    assert max(scale.values()) == 1.0

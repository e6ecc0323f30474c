"""Tests of guessing the architecture of weights: names and shapes are enough, and no weights are made."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from bob_gauntlet.backbones.architecture_guess import guess_architecture
from bob_gauntlet.backbones.spec import BackboneSpec


def without_data(name: str, **arguments: Any) -> nn.Module:
    """Return a network whose weights have no data."""
    with torch.device("meta"):
        network: nn.Module = timm.create_model(name, num_classes=0, **arguments)
    return network


@pytest.mark.parametrize(
    ("target", "name", "arguments", "guess"),
    [
        ("resnet18", "resnet34", {}, "timm:resnet34"),
        ("resnet50.a1_in1k", "resnet101", {}, "timm:resnet101"),
        ("vit_tiny_patch16_224", "vit_tiny_patch16_224", {"depth": 3}, "timm:vit_tiny_patch16_224,depth=3"),
        (
            "test_vit", "test_vit", {"reg_tokens": 4, "no_embed_class": True, "init_values": 1e-5},
            "timm:test_vit,no_embed_class=True,init_values=1e-05,reg_tokens=4",
        ),
        ("vit_small_patch16_224", "vit_tiny_patch16_224", {"img_size": 384}, "timm:vit_tiny_patch16_224"),
        (
            "vit_tiny_patch16_224", "vit_tiny_patch16_224", {"patch_size": 32},
            "timm:vit_tiny_patch16_224,patch_size=32",
        ),
        ("test_resnet", "test_vit", {}, ""),
        ("test_vit", "test_vit", {"qk_norm": True}, ""),
    ],
)  # fmt: skip
def test_likely_architectures_are_recognised(
    monkeypatch: pytest.MonkeyPatch, target: str, name: str, arguments: dict[str, Any], guess: str
) -> None:
    """Depths, layer scale, registers, and other architectures of the same family are told; nothing else is claimed."""
    monkeypatch.setattr("bob_gauntlet.backbones.architecture_guess._MOST", 4)
    arguments_of_spec = {"no_embed_class": True} if "no_embed_class" in arguments else {}
    spec = BackboneSpec(
        name="x", text="x", scheme="timm", target=target, arguments=arguments_of_spec, path=f"/{name}.pth"
    )
    module, tensors = without_data(target, **arguments_of_spec), dict(without_data(name, **arguments).state_dict())
    assert guess_architecture(spec, module, tensors) == guess

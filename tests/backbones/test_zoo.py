"""Tests of the zoo: each entry is complete, timm knows it, and its sizes are those of the network itself."""

import pytest
import timm
import torch

from bob_gauntlet.backbones import build
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.spec import BackboneIdentity, BackboneSpec
from bob_gauntlet.backbones.traits import derive_traits, input_transform
from bob_gauntlet.backbones.zoo import ZOO, ZooEntry, search
from bob_gauntlet.engine import timing

BUILT = {name: entry for name, entry in ZOO.items() if entry.architecture}


@pytest.mark.parametrize("entry", ZOO.values(), ids=ZOO.keys())
def test_every_entry_is_complete(entry: ZooEntry) -> None:
    """Every entry states the network, its pretraining, its sizes and its licence."""
    assert all((entry.name, entry.model, entry.family, entry.style, entry.method, entry.data, entry.licence))
    assert entry.paper or entry.package
    assert min(entry.images, entry.params, entry.size) > 0
    assert (entry.gflops is None) == (not entry.architecture)
    assert len(entry.weights.splitlines()) <= 1


@pytest.mark.parametrize("entry", ZOO.values(), ids=ZOO.keys())
def test_every_entry_has_weights(entry: ZooEntry) -> None:
    """Weights are in timm under the same tag, in a package, or at the place that the entry names."""
    if entry.weights:
        assert not timm.is_model_pretrained(entry.name)
        assert "--backbone=" in entry.weights
        assert "." not in entry.architecture
    elif not entry.package:
        config = timm.models.get_pretrained_cfg(entry.architecture)
        assert entry.name == entry.architecture
        assert config is not None
        assert config.has_weights
    assert timm.is_model(entry.architecture) or entry.name == "stable-diffusion-v1-4"


def test_labels_tell_backbones_apart() -> None:
    """No two labels are equal; a label is the model, the method unless the model names it, and the data."""
    labels = [entry.label for entry in ZOO.values()]
    assert len(set(labels)) == len(labels)
    assert ZOO["convnext_base.fb_in22k"].label == "ConvNeXt-Base supervised (IN-21k)"
    assert ZOO["vit_base_patch16_clip_224.laion2b"].label == "ViT-Base CLIP (LAION-2B)"
    assert ZOO["swinv2_tiny_window16_256.midas"].label == "SwinV2-Tiny MiDaS (depth)"
    assert ZOO["stable-diffusion-v1-4"].label == "Stable Diffusion encoder (LAION-2B)"


def test_each_row_of_the_paper_has_one_entry() -> None:
    """No two entries name the same row of the paper."""
    rows = [entry.paper for entry in ZOO.values() if entry.paper]
    assert len(set(rows)) == len(rows)


def test_one_dataset_has_one_size_and_one_method_one_style() -> None:
    """All entries of one dataset state the same number of images, and all entries of one method the same style."""
    sizes = {(entry.data, entry.images) for entry in ZOO.values()}
    assert len(sizes) == len({data for data, _ in sizes})
    styles = {(entry.method, entry.style) for entry in ZOO.values()}
    assert len(styles) == len({method for method, _ in styles})


@pytest.mark.slow
@pytest.mark.parametrize("entry", BUILT.values(), ids=BUILT.keys())
def test_sizes_are_those_of_the_network(entry: ZooEntry) -> None:
    """Parameters, FLOPs and input size equal those counted on a network without weights."""
    arguments = {"num_heads": 12} if "num_heads=12" in entry.weights else {}
    spec = BackboneSpec(name=entry.name, text=entry.name, scheme="timm", target=entry.architecture, arguments=arguments)
    with torch.device("meta"):
        module, resolved_arguments = build._create(spec, pretrained=False)
    traits = derive_traits(module, resolved_arguments, pretrained=False)
    identity = BackboneIdentity(
        fingerprint="", transform=input_transform(module, spec, resolved_arguments)[0], traits=traits
    )
    assert identity.transform.size == entry.size
    assert traits.params == pytest.approx(entry.params, abs=0.01)
    images = torch.empty(1, 3, entry.size, entry.size, device="meta")
    counted = timing.flops(Backbone(spec, module, identity, "meta"), images) / 1e9
    assert counted == pytest.approx(entry.gflops, rel=0.01)


def test_search_takes_a_pattern_or_plain_text() -> None:
    """Names, methods and data are searched, in upper or lower case."""
    assert [entry.name for entry in search("efficientnet_lite?")] == [f"efficientnet_lite{i}" for i in range(3)]
    assert {entry.method for entry in search("dino")} == {"DINO"}
    assert {entry.data for entry in search("LAION*")} == {"LAION-2B"}
    assert search("no such thing") == []
    assert len(search()) == len(ZOO)

